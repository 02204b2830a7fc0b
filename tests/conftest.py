"""What tests of several folders share."""

import csv
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from transformers import Qwen2Config, Qwen2ForCausalLM

from cai_lightning.cli.main import main
from cai_lightning.data.prompts import part, read_prompts
from cai_lightning.run import jsonl
from cai_lightning.run.records import Response
from cai_lightning.sandbox.training import qwen_tokenizer

SENTENCES = [
    "How do I bake bread for my neighbour?",
    "Tell me how to steal a car.",
    "I will not help with that, sorry.",
]
VERBS = ["bake", "steal", "paint", "break", "sell", "repair", "hide", "borrow"]
THINGS = ["a car", "some bread", "my neighbour's bike", "an old lamp", "the school's piano"]
EVALUATORS = '''
"""Evaluators from outside the package, as a user would write them."""
import torch
from lightning.pytorch import Callback
from cai_lightning.run.errors import UserError
from cai_lightning.metrics.base import Column, ResponseMetric, Scores

calls = []
broken = False


class Killed(Callback):
    """Ends the process, as it were, when the second epoch begins."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            raise SystemExit(9)


class Stopped(Callback):
    """Ends the process, as it were, when so many optimizer steps are done."""

    def __init__(self, step: int, interrupted: bool = False):
        self.step = step
        self.end = KeyboardInterrupt() if interrupted else SystemExit(9)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.logger.save()
            raise self.end


class Ended(Callback):
    """Ends the process, as it were, when a hook is called for the nth time."""

    def __init__(self, hook: str, nth: int):
        self.left = nth
        setattr(self, hook, self._count)

    def _count(self, trainer, *others):
        self.left -= not trainer.sanity_checking
        if not self.left:
            trainer.logger.save()
            raise SystemExit(9)


class Length(ResponseMetric):
    def __init__(self, scale: float = 1.0):
        super().__init__([Column("length", "higher", 0.0, float("inf"))])
        self.scale = scale

    def load(self, device):
        calls.append("Length.load")

    def score(self, responses):
        calls.extend(response.id for response in responses)
        values = torch.tensor([self.scale * len(response.prompt) for response in responses])
        return Scores({"length": values}, [None] * len(responses))

    def free(self):
        calls.append("Length.free")


class Fragile(ResponseMetric):
    """Leaves every prompt about bread unscored, and does not start while `broken`."""

    def __init__(self):
        super().__init__([Column("fragile", "lower", 0.0, 1.0)])

    def load(self, device):
        if broken:
            raise UserError("the service sleeps")

    def score(self, responses):
        bread = ["bread" in response.prompt for response in responses]
        values = torch.tensor([torch.nan if b else 0.5 for b in bread])
        return Scores({"fragile": values}, ["about bread" if b else None for b in bread], [{"n": 1} for _ in bread])

    def free(self):
        pass
'''


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Ctrl-C reaches the tests and what they start, though shells ignore it for what they run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data():
    """The folder of public data that this project did not write; tests that need it are skipped without it."""
    folder = os.environ.get("CAI_REAL_DATA")
    if not folder:
        pytest.skip("CAI_REAL_DATA does not name the folder of real data")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A folder with a small Qwen2 model of random weights, and a byte-complete tokenizer with a ChatML template."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = qwen_tokenizer(SENTENCES, 323)
    tokenizer.model_max_length = 2048
    tokenizer.save_pretrained(folder)
    make_model(folder, len(tokenizer), tokenizer.eos_token_id)
    return folder


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory):
    """Forty prompts, some of them in each of the three parts."""
    texts = [f"How do I {verb} {thing}?" for verb in VERBS for thing in THINGS]
    assert {part(text) for text in texts} == {"train", "validation", "test"}
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return path


@pytest.fixture
def evaluators(tmp_path, monkeypatch):
    """The module of evaluators written to a file outside the package."""
    (tmp_path / "outside.py").write_text(EVALUATORS)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("outside", None)
    import outside

    yield outside
    sys.modules.pop("outside")


@pytest.fixture
def make_experiment(tmp_path, prompts_file, evaluators):
    """A complete experiment with a model, its run in `tmp_path`."""
    return lambda model: Experiment(tmp_path / "tiny.yaml", tmp_path / "run", tiny_config(model, prompts_file))


@pytest.fixture
def experiment(make_experiment, tiny_model):
    """The same with the tiny model."""
    return make_experiment(tiny_model)


class Experiment:
    """Runs verbs in this process."""

    def __init__(self, config, run, sections):
        self.config, self.run, self.sections = config, run, sections
        self.save()

    def save(self):
        self.config.write_text(yaml.safe_dump(self.sections))

    def arguments(self, verb, *overrides):
        return [verb, "--config", str(self.config), "--run", str(self.run), *map(str, overrides)]

    def __call__(self, verb, *overrides):
        """The exit status of a verb."""
        try:
            return main(self.arguments(verb, *overrides))
        except SystemExit as exit:
            return exit.code

    def rows(self, name):
        return [row for _, row in jsonl.read_lines(self.run / name)]

    def write_revisions(self, answer="I will not help with that, sorry."):
        """What predict would have made, without its time."""
        rows = [
            {"id": prompt.id, "prompt": prompt.prompt, "initial_response": "Sure.", "revision": answer}
            for prompt in read_prompts(self.sections["predict"]["data"]["init_args"]["prompts"])
        ]
        jsonl.write(self.run / "revisions.jsonl", rows)

    def write_responses(self, response="Sure."):
        """What validate would have made before it scores, without its time."""
        prompts = read_prompts(self.sections["validate"]["data"]["init_args"]["prompts"])
        tests = [prompt for prompt in prompts if part(prompt.prompt) == "test"]
        rows = [Response(prompt.id, prompt.prompt, response, None, "stop", "tiny", None) for prompt in tests]
        jsonl.write(self.run / "responses.jsonl", map(asdict, rows))

    def logged(self, name):
        """What the logs of all starts of fit say of a column, in their order."""
        logs = [log.read_text().splitlines() for log in sorted(self.run.glob("logs/version_*/metrics.csv"))]
        return [float(row[name]) for log in logs for row in csv.DictReader(log) if row.get(name)]

    def summary(self):
        return json.loads((self.run / "summary.json").read_text())


def tiny_config(model, prompts):
    """The three sections of an experiment, as a YAML file would hold them."""
    engine = {
        "class_path": "cai_lightning.engines.TransformersEngine",
        "init_args": {
            "model": str(model),
            "dtype": "float32",
            "batch_size": 16,
            "sampling": {"temperature": 1.0, "max_new_tokens": 8},
        },
    }
    data = {"class_path": "cai_lightning.data.PromptData", "init_args": {"prompts": str(prompts)}}
    trainer = {"accelerator": "cpu", "devices": 1}
    return {
        "predict": {
            "model": {
                "class_path": "cai_lightning.modules.CritiqueRevision",
                "init_args": {
                    "engine": engine,
                    "selector": {"class_path": "cai_lightning.principles.selection.RandomSelector"},
                    "constitution": "default",
                },
            },
            "data": data,
            "trainer": trainer,
        },
        "fit": {
            "model": {
                "class_path": "cai_lightning.modules.SupervisedFineTuning",
                "init_args": {"model": str(model), "base_dtype": "float32", "learning_rate": 0.01, "lora": {"r": 4}},
            },
            "data": {
                "class_path": "cai_lightning.data.RevisionData",
                "init_args": {"batch_size": 8, "max_length": 1024},
            },
            "trainer": {**trainer, "max_epochs": 2},
        },
        "validate": {
            "model": {
                "class_path": "cai_lightning.modules.Evaluation",
                "init_args": {"engine": engine, "adapter": None, "metrics": [{"class_path": "outside.Length"}]},
            },
            "data": data,
            "trainer": trainer,
        },
    }


def make_model(folder, vocabulary, eos, layers=2):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=eos,
        bos_token_id=None,
        initializer_range=0.3,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
