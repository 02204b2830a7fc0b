"""The models that a configuration names, served without a trainer, one in memory at a time.

Serves without a trainer, one model in memory at a time: on the accelerator where there is one, on one event loop.

with serving(engine, lambda: engine.start(device(), adapter)) as runner:
    reply = wait_for(runner, engine.reply(conversation, seed))

The models that a configuration names: the chain of its section `predict`, and what its section `validate` evaluates.

experiment = read_experiment(["--config=configs/qwen_contextual.yaml", "--model.revisions=2"])
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import LightningModule

from cai_lightning.commands.arguments import PROGRAM, run_folder, summarize
from cai_lightning.engines import Engine
from cai_lightning.modules import CritiqueRevision, Evaluation
from cai_lightning.modules.evaluation import own_output
from cai_lightning.run.config import Configuration, config_option, read_configurations
from cai_lightning.run.errors import ReplyError, UserError

T = TypeVar("T")


@contextmanager
def serving(engine: Engine, start: Callable[[], None]) -> Iterator[asyncio.Runner]:
    """Keeps an engine started, with the event loop on which its replies are awaited.

    Args:
        engine: What is freed at the end.
        start: Starts it, and whatever else is needed.
    """
    with asyncio.Runner() as runner:
        try:
            start()
            yield runner
        finally:
            engine.stop()


def wait_for(runner: asyncio.Runner, coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns.

    Raises:
        UserError: The engine has no reply.
    """
    try:
        return runner.run(coroutine)
    except ReplyError as error:
        raise UserError(f"no reply: {error}") from error


def device() -> torch.device:
    """The accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


USAGE = f"{PROGRAM} ask [PROMPT] --config FILE [--run DIR] [--seed N] [--model.KEY VALUE ...]"
CLASSES: dict[str, type[LightningModule]] = {"predict": CritiqueRevision, "validate": Evaluation}


@dataclass(frozen=True)
class Experiment:
    """What there is to ask.

    Args:
        chain: Critique and revision; null where the configuration has no section `predict`.
        evaluation: The model with its adapter; that of the chain where there is no section `validate`.
        run: Folder of the run.
    """

    chain: CritiqueRevision | None
    evaluation: Evaluation
    run: Path

    @property
    def adapter(self) -> Path | None:
        """The adapter of the fine-tuned model; None for a base model, and where fit has not made the run's own yet.

        Raises:
            UserError: The configuration names a folder that is missing.
        """
        return None if self._is_missing else self.evaluation.adapter_folder(self.run)

    @property
    def note(self) -> str | None:
        """What is to be said where the fine-tuned model is asked for before fit has made it, or has finished it."""
        if self._is_missing:
            return f"{self.run}: no fine-tuned model there yet; fit makes one."
        return self.evaluation.why_unfinished(self.run)

    @property
    def _is_missing(self) -> bool:
        return self.evaluation.adapter == "run" and not own_output(self.run).is_dir()

    def name(self, adapter: Path | None) -> str:
        """The evaluated model by its name, with the adapter where there is one."""
        model = self.evaluation.answerer.model
        return f"{model} with {adapter}" if adapter else model


def read_experiment(options: Sequence[str]) -> Experiment:
    """Reads the models of an experiment, and loads none of them.

    Args:
        options: Those of the command line, each with its value behind a `=`.

    Raises:
        UserError: There is no configuration, or a value in it is wrong.
    """
    words = read_configurations(options)
    files = [word for word in words if isinstance(word, Configuration)]
    if not files:
        raise UserError("ask needs --config FILE, the experiment whose models answer.")
    verbs = [verb for verb in CLASSES if any(verb in file.verbs for file in files)]
    if not verbs:
        raise UserError(f"{files[0].path}: neither a section predict nor a section validate, whose models ask asks.")
    parser = _parser(verbs)
    settings = parser.parse_args([f"--run=runs/{files[0].path.stem}", *_arguments(words, verbs)])
    try:
        parts = parser.instantiate_classes(settings)
    except ValueError as error:
        raise UserError(summarize(error)) from error
    return Experiment(*_models(parts), run_folder(settings.run))


def _models(parts: Namespace) -> tuple[CritiqueRevision | None, Evaluation]:
    """The chain, and what is evaluated: where no section says it, the chain's own model with the run's adapter."""
    chain = parts.get("predict.model")
    return chain, parts.get("validate.model") or Evaluation(chain.engine, [], seed=chain.seed)


def _parser(verbs: Sequence[str]) -> ArgumentParser:
    parser = ArgumentParser(prog=f"{PROGRAM} ask", usage=USAGE)
    parser.add_argument("--config", action="config")
    parser.add_argument("--run", type=str)
    for verb in verbs:
        parser.add_subclass_arguments(CLASSES[verb], f"{verb}.model", required=True)
    return parser


def _arguments(words: Sequence[str | Configuration], verbs: Sequence[str]) -> Iterator[str]:
    """The options as the parser knows them: a setting of the model stands below its section's name."""
    for word in words:
        if isinstance(word, Configuration):
            yield config_option(_model_settings(word))
        elif word.startswith(("--seed=", "--model.")):
            key, _, value = word.removeprefix("--").removeprefix("model.").partition("=")
            yield from (f"--{verb}.model.{key}={value}" for verb in _takers(key, verbs))
        else:
            yield word


def _model_settings(file: Configuration) -> dict[str, Any]:
    """What a file says about models, its other settings left aside."""
    sections = {verb: file.section(verb) for verb in file.verbs if verb in CLASSES}
    return {verb: {"model": section["model"]} for verb, section in sections.items() if "model" in section}


def _takers(key: str, verbs: Sequence[str]) -> Sequence[str]:
    """The sections whose model has a setting; all of them where none has, for the parser to refuse it."""
    name = key.removeprefix("init_args.").partition(".")[0]
    return [verb for verb in verbs if name in inspect.signature(CLASSES[verb]).parameters] or verbs
