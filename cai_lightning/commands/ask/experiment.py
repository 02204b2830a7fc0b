"""The models that a configuration names, and what they say to one prompt, one model in memory at a time.

    experiment = read_experiment(["--config=configs/qwen_contextual.yaml", "--model.revisions=2"])
    exchange = ask_base(experiment, prompt)
    exchange.answers.append(ask_evaluated(experiment, adapter, prompt))

    with serving(engine, lambda: engine.start(device(), adapter)) as runner:
        reply = runner.run(engine.reply(conversation, seed))

They are served without a trainer: on the accelerator where there is one, on one event loop. The chain is that of the
section `predict`, and what is evaluated that of the section `validate`.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pydoc import locate
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule

from cai_lightning.commands.arguments import PROGRAM, summarize
from cai_lightning.engines import Engine
from cai_lightning.modules import CritiqueRevision, Evaluation
from cai_lightning.modules.evaluation import own_output
from cai_lightning.run.config import Configuration, cut_configurations, run_folder
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import Prompt, Revision, Round

USAGE = f"{PROGRAM} ask [PROMPT] --config FILE [--run DIR] [--seed N] [--model.KEY VALUE ...]"
CLASSES: dict[str, type[LightningModule]] = {"predict": CritiqueRevision, "validate": Evaluation}
"""The sections whose models are asked."""

BASE = "base model"
FINE_TUNED = "fine-tuned model"


class Experiment:
    """What there is to ask.

    Args:
        chain: Critique and revision; null where the configuration has no section `predict`.
        evaluation: The model with its adapter; that of the chain where there is no section `validate`.
        run: Folder of the run.

    Attributes:
        adapter: The adapter of the fine-tuned model; None for a base model, and where fit has not made the run's own
            yet.
        note: What is to be said where the fine-tuned model is asked for before fit has made it, or has finished it.

    Raises:
        UserError: The configuration names an adapter that is missing.
    """

    def __init__(self, chain: CritiqueRevision | None, evaluation: Evaluation, run: Path) -> None:
        self.chain, self.evaluation = chain, evaluation
        missing = evaluation.adapter == "run" and not own_output(run).is_dir()
        self.adapter = None if missing else evaluation.adapter_folder(run)
        none_yet = f"{run}: no fine-tuned model there yet; fit makes one."
        self.note = none_yet if missing else evaluation.why_unfinished(run)

    def name(self, adapter: Path | None) -> str:
        """The evaluated model by its name, with the adapter where there is one."""
        model = self.evaluation.answerer.model
        return f"{model} with {adapter}" if adapter else model


def read_experiment(options: Sequence[str]) -> Experiment:
    """Reads the models of an experiment, and loads none of them.

    Args:
        options: Those of the command line, each with its value behind a `=`.

    Raises:
        UserError: There is no configuration, one says nothing about these models, or a value in it is wrong.
    """
    words, files = cut_configurations(options, _model_settings)
    if not files:
        raise UserError("ask needs --config FILE, the experiment whose models answer.")
    for file in files:
        if not _asked(file):
            raise UserError(f"{file.path}: neither a section predict nor a section validate, whose models ask asks.")
    verbs = [verb for verb in CLASSES if any(verb in _asked(file) for file in files)]
    parser = ArgumentParser(prog=f"{PROGRAM} ask", usage=USAGE)
    parser.add_argument("--config", action="config")
    parser.add_argument("--run", type=str)
    for verb in verbs:
        parser.add_subclass_arguments(CLASSES[verb], f"{verb}.model", required=True)
    settings = parser.parse_args([f"--run=runs/{files[0].path.stem}", *_arguments(words, verbs)])
    try:
        parts = parser.instantiate_classes(settings)
    except ValueError as error:
        raise UserError(summarize(error)) from error
    chain = parts.get("predict.model")
    evaluation = parts.get("validate.model") or Evaluation(chain.engine, [], seed=chain.seed)
    return Experiment(chain, evaluation, run_folder(settings.run))


def _arguments(words: Sequence[str], verbs: Sequence[str]) -> Iterator[str]:
    """The options as the parser knows them: a setting of the model stands below its section's name."""
    for word in words:
        if word.startswith(("--seed=", "--model.")):
            key, _, value = word.removeprefix("--").removeprefix("model.").partition("=")
            yield from (f"--{verb}.model.{key}={value}" for verb in _takers(key, verbs))
        else:
            yield word


def _model_settings(file: Configuration) -> dict[str, Any]:
    """What a file says about models, its other settings left aside."""
    sections = {verb: file.section(verb) for verb in _asked(file)}
    return {verb: {"model": section["model"]} for verb, section in sections.items() if "model" in section}


def _asked(file: Configuration) -> list[str]:
    """The sections of a file whose models are asked; a model that does something else, such as labels, is not."""
    return [verb for verb in CLASSES if verb in file.verbs and not _is_another(file.section(verb), CLASSES[verb])]


def _is_another(section: dict[str, Any], kind: type[LightningModule]) -> bool:
    model = section.get("model")
    named = locate(str(model.get("class_path"))) if isinstance(model, dict) else None
    return isinstance(named, type) and not issubclass(named, kind)


def _takers(key: str, verbs: Sequence[str]) -> Sequence[str]:
    """The sections whose model has a setting; all of them where none has, for the parser to refuse it."""
    name = key.removeprefix("init_args.").partition(".")[0]
    return [verb for verb in verbs if name in inspect.signature(CLASSES[verb]).parameters] or verbs


@contextmanager
def serving(engine: Engine, start: Callable[[], None]) -> Iterator[asyncio.Runner]:
    """Keeps an engine started, with the event loop on which its replies are awaited.

    Args:
        engine: What is freed at the end.
        start: Starts it, and whatever else is needed.

    Raises:
        UserError: The engine has no reply.
    """
    with asyncio.Runner() as runner:
        try:
            start()
            yield runner
        except ReplyError as error:
            raise UserError(f"no reply: {error}") from error
        finally:
            engine.stop()


def device() -> torch.device:
    """The accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


@dataclass(frozen=True)
class Passage:
    """A text and what it is.

    Args:
        heading: What it is.
        text: The words.
        cut: Whether the model came to its maximum of tokens in it.
        thought: What was thought before; None where nothing was.
        model: Which model it is from, where that is not told by what stands around it.
    """

    heading: str
    text: str
    cut: bool = False
    thought: str | None = None
    model: str = ""


@dataclass(frozen=True)
class Step:
    """One round of critique and revision: its principle, and what was asked and said."""

    heading: str
    passages: list[Passage]


@dataclass(frozen=True)
class Exchange:
    """A prompt, the answers of the models, and the steps from the first of them to its last revision."""

    prompt: str
    answers: list[Passage]
    steps: list[Step] = field(default_factory=list)


def ask_base(experiment: Experiment, prompt: Prompt) -> Exchange:
    """Asks the model before any fine-tuning, which revises its answer where the experiment has a chain."""
    chain = experiment.chain
    if chain is None:
        return Exchange(prompt.prompt, [ask_evaluated(experiment, None, prompt)])
    chain.to(device())
    with serving(chain.engine, lambda: chain.prepare([prompt], 1)) as runner:
        return _exchange(runner.run(chain.revise(prompt)))


def ask_evaluated(experiment: Experiment, adapter: Path | None, prompt: Prompt) -> Passage:
    """Asks the evaluated model, with its adapter or without one, by the same draw as validate."""
    evaluation = experiment.evaluation
    with serving(evaluation.answerer, lambda: evaluation.answerer.start(device(), adapter)) as runner:
        reply = runner.run(evaluation.reply(prompt))
    heading = FINE_TUNED if adapter else BASE
    return Passage(heading, reply.text, reply.finish_reason == "length", reply.thought, experiment.name(adapter))


def _exchange(revision: Revision) -> Exchange:
    thoughts = revision.thoughts or [None] * len(revision.finish_reasons)
    ends = zip((reason == "length" for reason in revision.finish_reasons), thoughts, strict=True)
    base = Passage(BASE, revision.initial_response, *next(ends), revision.model)
    steps = [_step(number, made, ends) for number, made in enumerate(revision.rounds, 1)]
    return Exchange(revision.prompt, [base], steps)


def _step(number: int, made: Round, ends: Iterator[tuple[bool, str | None]]) -> Step:
    """A round, given whether each further reply was cut, and what was thought before it."""
    similarity = "" if made.similarity is None else f", similarity {made.similarity:.2f}"
    passages = []
    if made.critique is not None:
        passages += [Passage("Critique request", made.principle_used), Passage("Critique", made.critique, *next(ends))]
    passages.append(Passage("Revision request", made.revision_request))
    passages.append(Passage("Revision", made.revision, *next(ends)))
    return Step(f"Round {number}: principle {made.principle_id}{similarity}", passages)
