"""The models that a configuration names: the chain of its section `predict`, and what its section `validate` evaluates.

experiment = read_experiment([("--config", "configs/qwen_contextual.yaml"), ("--model.revisions", "2")])
"""

import inspect
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import LightningModule

from cai_lightning.arguments import run_folder
from cai_lightning.errors import UserError
from cai_lightning.mistakes import cause
from cai_lightning.modules import CritiqueRevision, Evaluation
from cai_lightning.modules.evaluation import own_output
from cai_lightning.sections import read_section, verbs_in
from cai_lightning.verbs import PROGRAM

USAGE = f"{PROGRAM} ask [PROMPT] --config FILE [--run DIR] [--seed N] [--model.KEY VALUE ...]"
CLASSES: dict[str, type[LightningModule]] = {"predict": CritiqueRevision, "validate": Evaluation}
Options = Sequence[tuple[str, str]]
"""Names with their dashes, and values, as they stand on the command line."""


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


def read_experiment(options: Options) -> Experiment:
    """Reads the models of an experiment, and loads none of them.

    Raises:
        UserError: There is no configuration, or a value in it is wrong.
    """
    files = [Path(value) for name, value in options if name in ("--config", "-c")]
    if not files:
        raise UserError("ask needs --config FILE, the experiment whose models answer.")
    named = {verb for file in files for verb in verbs_in(file)}
    verbs = [verb for verb in CLASSES if verb in named]
    if not verbs:
        raise UserError(f"{files[0]}: neither a section predict nor a section validate, whose models ask asks.")
    parser = _parser(verbs)
    settings = parser.parse_args([f"--run=runs/{files[0].stem}", *_arguments(options, verbs)])
    try:
        parts = parser.instantiate_classes(settings)
    except ValueError as error:
        raise UserError(cause(error)) from error
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


def _arguments(options: Options, verbs: Sequence[str]) -> Iterator[str]:
    """The options as the parser knows them: a setting of the model stands below its section's name."""
    for name, value in options:
        if name in ("--config", "-c"):
            yield f"--config={_settings(Path(value))}"
        elif name == "--seed" or name.startswith("--model."):
            key = name.removeprefix("--").removeprefix("model.")
            yield from (f"--{verb}.model.{key}={value}" for verb in _takers(key, verbs))
        else:
            yield f"{name}={value}" if value else name


def _settings(path: Path) -> str:
    """What a file says about models, its other settings left aside."""
    sections = {verb: read_section(path, verb) for verb in verbs_in(path) if verb in CLASSES}
    return json.dumps({verb: {"model": section["model"]} for verb, section in sections.items() if "model" in section})


def _takers(key: str, verbs: Sequence[str]) -> Sequence[str]:
    """The sections whose model has a setting; all of them where none has, for the parser to refuse it."""
    name = key.removeprefix("init_args.").partition(".")[0]
    return [verb for verb in verbs if name in inspect.signature(CLASSES[verb]).parameters] or verbs
