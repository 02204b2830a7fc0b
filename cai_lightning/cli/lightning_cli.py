"""LightningCLI for predict, fit and validate: what determines their rows is compared before any work begins."""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn, cast

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from cai_lightning.callbacks.checkpoints import TRAINED, BestCheckpoint, FirstValidation, LastCheckpoint
from cai_lightning.callbacks.costs import Throughput
from cai_lightning.callbacks.dry_run import DryRun
from cai_lightning.callbacks.progress import RowProgress, Statement, StepLines
from cai_lightning.callbacks.recording import (
    FILES,
    EndOnTermination,
    MakesSeveral,
    Recorder,
    RecordWriter,
    merge_records,
)
from cai_lightning.cli import lightning_trainer
from cai_lightning.cli.verbs import VERBS
from cai_lightning.commands.arguments import PROGRAM, summarize, usage_error
from cai_lightning.data.prompt_data import PromptData, ResponseData
from cai_lightning.modules import Evaluation
from cai_lightning.report.results import show_evaluation, tell_failures, tell_missing, told_rows, write_evaluation
from cai_lightning.run import manifest
from cai_lightning.run.config import RUN_VERBS, run_folder
from cai_lightning.run.errors import UserError
from cai_lightning.run.files import locked
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.processes import quiet
from cai_lightning.run.records import Failure, Record


def parser_settings(name: str) -> dict[str, str]:
    """A short usage, for an error shows it before its message, and where the settings of the parts are explained."""
    verb, program = VERBS[name], f"{PROGRAM} {name}"
    model, data = verb.classes
    words = [f"[{option}{'' if 'action' in known else ' N'}]" for option, known in verb.options.items()]
    return {
        "description": (
            f"{verb.about[0].upper()}{verb.about[1:]}. The settings of its parts are explained by {program} "
            f"--model.help {model} and --data.help {data}; --print_config shows them as they would be used."
        ),
        "usage": f"{program} --config FILE [--run DIR] [--fresh] {' '.join(words)} [--print_config] [--KEY VALUE ...]",
    }


class Parser(LightningArgumentParser):
    """Says in one line which setting is wrong, and how, below the usage of the verb."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # one for a part of the settings
            super().error(message, ex)
        if self._subcommands_action:
            self._subcommands_action.choices[self.args[0]].error(message, ex)
        super().error(usage_error(message), ex)


class CAICLI(LightningCLI):
    """Runs predict, fit or validate."""

    def __init__(self, args: ArgsType = None) -> None:
        quiet()
        super().__init__(
            model_class=LightningModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=42,
            auto_configure_optimizers=False,
            parser_class=Parser,
            load_from_checkpoint_support=False,
            trainer_defaults={"use_distributed_sampler": False, "enable_model_summary": False},
            parser_kwargs={"prog": PROGRAM, **{verb: parser_settings(verb) for verb in RUN_VERBS}},
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        skipped = {"model", "dataloaders", "train_dataloaders", "val_dataloaders", "datamodule"}
        return dict.fromkeys(RUN_VERBS, skipped)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run", type=str, required=True, help="Folder of the run; runs/X for --config X.yaml.")
        parser.add_argument("--fresh", action="store_true", help="Moves what the verb has made aside, and begins anew.")
        parser.link_arguments("run", "trainer.default_root_dir")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **settings: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **settings)
        lightning_trainer.count_before_share(parser)
        for option, known in VERBS[subcommand].options.items():
            parser.add_argument(option, **known)
        parser.set_defaults(dict(VERBS[subcommand].defaults))
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        self.config = parser.parse_args(cast(list[str], args))

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise UserError(f"seed_everything: {error}.") from None

    def before_instantiate_classes(self) -> None:
        run_folder(self._get(self.config, "run"))
        lightning_trainer.check(str(self.subcommand), self._get(self.config, "trainer"))

    @property
    def run(self) -> Path:
        return Path(self.trainer.default_root_dir)

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            raise UserError(summarize(error)) from error
        if isinstance(self.model, MakesSeveral) and isinstance(self.datamodule, PromptData):
            self.datamodule.ask_for(FILES[self._recorder.records[0]], self.model.rows_of)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        verb, settings = str(self.subcommand), dict(self._get(self.config_init, "trainer"))
        settings |= kwargs | lightning_trainer.filled_in(verb, settings)
        lightning_trainer.check_tasks()
        try:
            trainer = self._instantiate_trainer(settings, self._callbacks())
        except (TypeError, ImportError) as error:  # of a number of devices; of a precision that needs more packages
            raise UserError(f"trainer: {summarize(error)}") from error
        lightning_trainer.prepare(verb, trainer, settings["strategy"])
        return trainer

    def _callbacks(self) -> list[Callback]:
        if self._dry:
            return [EndOnTermination(), RowProgress(), DryRun()]
        if self.subcommand == "fit":
            kept = [FirstValidation(), BestCheckpoint(), LastCheckpoint(self._get(self.config, "checkpoint_every"))]
            return [EndOnTermination(), *kept, Throughput(), Statement(), StepLines()]
        return [EndOnTermination(), RecordWriter(*self._recorder.records), RowProgress()]

    @property
    def _dry(self) -> bool:
        return self.subcommand == "predict" and bool(self._get(self.config, "dry_run"))

    @property
    def _recorder(self) -> Recorder:
        if not isinstance(self.model, Recorder):
            name = type(self.model).__name__
            raise UserError(f"model: {name} does not say what {self.subcommand} writes (records and outputs).")
        return self.model

    @property
    def _outputs(self) -> manifest.Outputs:
        return TRAINED if self.subcommand == "fit" else self._recorder.outputs

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs a verb; what it locks is free when it has ended. Lightning makes an exit of Ctrl-C, which is undone."""
        with ExitStack() as self._locks:
            try:
                super()._run_subcommand(subcommand)
            except (KeyboardInterrupt, SystemExit) as end:
                if KeyboardInterrupt in (type(end), type(end.__context__)):
                    kept = lightning_trainer.told_interrupt(self.run) if subcommand == "fit" else ""
                    raise KeyboardInterrupt(kept) from None
                raise

    def before_predict(self) -> None:
        if not self._dry:
            self._check_or_write()
        elif self._get(self.config, "fresh"):
            raise UserError("--dry-run moves nothing aside: leave --fresh out, or name another --run.")
        else:
            manifest.require_same(self.run, self._outputs, self._fingerprint())

    def before_validate(self) -> None:
        more, data = {}, self.datamodule
        if isinstance(data, PromptData) and self._outputs.noted:
            more["digest of references"] = data.reference_digest(self.run)
            manifest.require_same(self.run, TRAINED, manifest.settings({"data": {"shares": data.shares}}))
        self._check_or_write(more)

    def fit(self, **arguments: Any) -> None:
        """Trains, from the last checkpoint where there is one; a training that is finished is left as it is."""
        names = (*lightning_trainer.STEP, *lightning_trainer.LENGTH)
        determining = {f"trainer.{name}": self._get(self.config, "trainer")[name] for name in names}
        self._warn()
        self._check_or_write({**determining, "seed_everything": self._get(self.config, "seed_everything")})
        lightning_trainer.wait_for_the_first(self.trainer)
        if manifest.is_finished(self.run, "fit"):
            rank_zero_info(f"{self.run}: fit is finished already; --fresh begins anew.")
            return
        lightning_trainer.train(self.trainer, self.run, arguments)
        lightning_trainer.finish(self.trainer, self.run, self.model.output)

    @rank_zero_only
    def after_predict(self) -> None:
        if not self._dry:
            tell_made(self._recorder.records[0], self.datamodule, self.run)

    @rank_zero_only
    def after_validate(self) -> None:
        if isinstance(self.model, Evaluation) and isinstance(self.datamodule, (PromptData, ResponseData)):
            tell_evaluation(self.model, self.datamodule, self.run, self._get(self.config, "strict"))

    @rank_zero_only
    def _warn(self) -> None:
        """Says what is to be known of the data before anything is begun."""
        if isinstance(self.datamodule, manifest.HasWarning) and (why := self.datamodule.warning(self.run)):
            print(f"warning: {why}", file=sys.stderr)

    @rank_zero_only
    def _check_or_write(self, more: Mapping[str, Any] | None = None) -> None:
        """Compares what determines the rows with what was made before, and keeps the whole configuration.

        Rank files of an interrupted run are merged here, before other ranks read them.
        """
        outputs, data, found = self._outputs, self.datamodule, self._fingerprint() | dict(more or {})
        records = () if self.subcommand == "fit" else self._recorder.records
        self.run.mkdir(parents=True, exist_ok=True)
        self._locks.enter_context(locked(self.run / f"{self.subcommand}.json"))
        if self._get(self.config, "fresh") and (folder := manifest.set_aside(self.run, outputs)):
            rank_zero_info(f"what {outputs.verb} had made before is now in {folder}")
        for path in sorted(self.run.glob("hpc_ckpt_*.ckpt")):
            rank_zero_info(f"{path}: Lightning has written this in the midst of a step; it is not used.")
        if outputs.noted:
            manifest.check_or_write(self.run, outputs, found)
        merge_records(self.run, records, data.order if isinstance(data, PromptData) else ())
        config, path = self.config[self.subcommand], self.run / f"{outputs.verb}.yaml"
        self._parser(self.subcommand).save(config, path, skip_none=False, overwrite=True, multifile=False)
        if self.subcommand == "predict" and isinstance(data, PromptData):
            manifest.add(self.run, "predict", rows=len(data.wanted))

    def _fingerprint(self) -> dict[str, Any]:
        return manifest.fingerprint(self.run, {"model": self.model, "data": self.datamodule})


def tell_made(kind: type[Record], data: LightningDataModule, run: Path) -> None:
    """Says at the end of predict where the rows are, what is to be known of them, and which of them failed.

    Args:
        kind: Their kind.
        data: What has been read.
        run: The run's folder.

    Raises:
        UserError: All rows failed.
    """
    failures = run / FILES[Failure]
    for line in told_rows(kind, run / FILES[kind]):
        rank_zero_info(line)
    if isinstance(data, PromptData):
        tried = set(data.unmade)
        failed = [failure.reason for id, failure in read_records(failures, Failure).items() if id in tried]
        tell_failures(failed, len(tried), f"set aside in {failures}")


def tell_evaluation(model: Evaluation, data: PromptData | ResponseData, run: Path, strict: bool) -> None:
    """Sums up at the end of validate what it has found, and says which rows have no score.

    Args:
        model: What has run.
        data: What it has read.
        run: The run's folder.
        strict: Whether an evaluator that could not run is an error.

    Raises:
        UserError: All rows failed, or, where it is strict, an evaluator could not run.
    """
    write_evaluation(run, model, data)
    show_evaluation(run)
    rank_zero_info(f"the scores are in {run / 'scores.jsonl'}, their means in {run / 'summary.json'}")
    if model.engine is None:
        tell_missing(model.unanswered(), len(data.tests), run / "responses.jsonl")
    else:
        tell_failures(model.reasons(), model.tried, "unscored")
    not_run = [f"{outcome.name}: {outcome.not_run}" for outcome in model.outcomes if outcome.not_run]
    if not_run and strict:
        raise UserError(f"every other score is kept, but these evaluators did not run: {'; '.join(not_run)}")
