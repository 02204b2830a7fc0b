"""LightningCLI for the verbs of a run: what determines its rows is settled before any work begins."""

import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from cai_lightning.callbacks.checkpoints import BestCheckpoint, FirstValidation, LastCheckpoint, WholeCheckpoints
from cai_lightning.callbacks.costs import Throughput
from cai_lightning.callbacks.dry_run import DryRun
from cai_lightning.callbacks.progress import RowProgress, Statement, StepLines, has_bar
from cai_lightning.callbacks.recording import RecordWriter, merge_records
from cai_lightning.callbacks.termination import EndOnTermination
from cai_lightning.cli import trainer_settings
from cai_lightning.cli.verbs import VERBS, parser_settings
from cai_lightning.commands.arguments import PROGRAM, run_folder
from cai_lightning.commands.usage import Parser, refuse_repeated_settings, summarize
from cai_lightning.data.prompt_data import PromptData, ResponseData
from cai_lightning.data.revision_data import RevisionData
from cai_lightning.modules import Evaluation
from cai_lightning.report.failures import tell_failures, tell_missing, told_cuts
from cai_lightning.report.validation import show_evaluation, write_evaluation
from cai_lightning.run import jsonl, manifest
from cai_lightning.run.config import RUN_VERBS
from cai_lightning.run.errors import UserError
from cai_lightning.run.processes import launched_by_the_first
from cai_lightning.run.quiet import quiet
from cai_lightning.run.record_files import read_records
from cai_lightning.run.records import Failure, Record, Response, Revision, Score

RECORDS: dict[str, tuple[type[Record], ...]] = {"predict": (Revision, Failure), "validate": (Response, Score)}
"""What the verbs make row by row."""

PATIENCE = timedelta(days=7)
"""How long a process waits for the others, whose rows may take hours longer; Lightning gives up after half an hour."""


class CAICLI(LightningCLI):
    """Runs predict, fit or validate."""

    def __init__(self, args: ArgsType = None) -> None:
        quiet()
        refuse_repeated_settings()
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
        parser.add_argument(
            "--fresh", action="store_true", help="Moves what the verb has made before aside, and begins anew."
        )
        parser.link_arguments("run", "trainer.default_root_dir")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **settings: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **settings)
        trainer_settings.count_before_share(parser)
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
        trainer_settings.check(str(self.subcommand), self._get(self.config, "trainer"))

    @property
    def run(self) -> Path:
        return Path(self.trainer.default_root_dir)

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            raise UserError(summarize(error)) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = dict(self._get(self.config_init, "trainer"))
        run = Path(config["default_root_dir"])
        if self.subcommand == "fit":
            kwargs["logger"] = CSVLogger(run, name="logs") if config["logger"] is None else config["logger"]
            if config["enable_progress_bar"] is None:
                kwargs["enable_progress_bar"] = has_bar()
        else:
            kwargs |= {"logger": config["logger"] or False, "enable_progress_bar": False, "enable_checkpointing": False}
        by_name = isinstance(config["strategy"], str)
        if self.subcommand == "fit" and by_name and config["plugins"] is None:
            kwargs["plugins"] = WholeCheckpoints()
        callbacks = self._callbacks()
        trainer_settings.check_tasks()
        try:
            trainer = self._instantiate_trainer({**config, **kwargs}, callbacks)
        except (TypeError, ImportError) as error:  # of a number of devices; of a precision that needs more packages
            raise UserError(f"trainer: {summarize(error)}") from error
        if self.subcommand != "fit" and by_name and isinstance(trainer.strategy, DDPStrategy):
            trainer.strategy._timeout = PATIENCE
        trainer_settings.prepare(trainer)
        return trainer

    def _callbacks(self) -> list[Callback]:
        if self._dry:
            return [EndOnTermination(), RowProgress(), DryRun()]
        if kinds := RECORDS.get(str(self.subcommand)):
            return [EndOnTermination(), RecordWriter(*kinds), RowProgress()]
        last = LastCheckpoint(self._get(self.config, "checkpoint_every"))
        return [EndOnTermination(), FirstValidation(), BestCheckpoint(), Throughput(), Statement(), StepLines(), last]

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs a verb; what it locks is free when it has ended. Lightning makes an exit of Ctrl-C, which is undone."""
        with ExitStack() as self._locks:
            try:
                super()._run_subcommand(subcommand)
            except (KeyboardInterrupt, SystemExit) as end:
                if KeyboardInterrupt in (type(end), type(end.__context__)):
                    raise KeyboardInterrupt(_checkpoint(self.run) if subcommand == "fit" else "") from None
                raise

    @property
    def _dry(self) -> bool:
        return self.subcommand == "predict" and bool(self._get(self.config, "dry_run"))

    def before_predict(self) -> None:
        if self._dry and self._get(self.config, "fresh"):
            raise UserError("--dry-run moves nothing aside: leave --fresh out, or name another --run.")
        if self._dry:
            manifest.agree(self.run, "predict", self._found())
        else:
            self._settle("predict")

    def before_validate(self) -> None:
        if isinstance(self.model, Evaluation) and self.model.engine is None:
            self._prepare_scoring(self.model)
            return
        data = self.datamodule
        more = {}
        if isinstance(data, PromptData):
            more["digest of references"] = data.reference_digest(self.run)
            manifest.agree(self.run, "fit", manifest.settings({"data": {"shares": data.shares}}))
        self._settle("validate", more)

    def fit(self, **arguments: Any) -> None:
        """Trains, from the last checkpoint where there is one; a training that is finished is left as it is."""
        trainer = self._get(self.config, "trainer")
        self._check_revisions()
        seed = {"seed_everything": self._get(self.config, "seed_everything")}
        self._settle("fit", trainer_settings.determining(trainer) | seed)
        self._wait_until_settled()
        if manifest.is_finished(self.run, "fit"):
            rank_zero_info(f"{self.run}: fit is finished already; --fresh begins anew.")
            return
        last, begun = self.run / "checkpoints" / "last.ckpt", arguments["ckpt_path"]
        if begun in (None, "last"):
            begun = str(last) if last.exists() else None
        if begun:
            rank_zero_info(f"going on from {begun}")
        trainer_settings.begin_from(self.trainer, begun)
        self.trainer.fit(**{**arguments, "ckpt_path": None, "weights_only": True})
        best = self.run / self.model.output
        if self.trainer.is_global_zero and _ended(self.trainer):
            if not best.is_dir():
                raise UserError(
                    f"the training has ended, and there is no {best}: no validation has come to keep it. Look at "
                    "trainer.val_check_interval, and begin anew: --fresh."
                )
            manifest.finish(self.run, "fit")
        if best.is_dir():
            rank_zero_info(f"the best {self.model.output} is in {best}")

    @rank_zero_only
    def after_predict(self) -> None:
        if self._dry:
            return
        rank_zero_info(f"the revisions are in {self.run / 'revisions.jsonl'}")
        if cuts := told_cuts(self.run / "revisions.jsonl"):
            rank_zero_info(cuts)
        if isinstance(self.datamodule, PromptData):
            path, tried = self.run / "failed.jsonl", {prompt.id for prompt in self.datamodule.missing}
            failed = [failure.reason for id, failure in read_records(path, Failure).items() if id in tried]
            tell_failures(failed, len(tried), f"set aside in {path}")

    @rank_zero_only
    def after_validate(self) -> None:
        if not isinstance(self.model, Evaluation) or not isinstance(self.datamodule, (PromptData, ResponseData)):
            return
        write_evaluation(self.run, self.model, self.datamodule)
        show_evaluation(self.run)
        rank_zero_info(f"the scores are in {self.run / 'scores.jsonl'}, their means in {self.run / 'summary.json'}")
        if self.model.engine is None:
            tell_missing(self.model.unanswered(), len(self.datamodule.tests), self.run / "responses.jsonl")
        else:
            tell_failures(self.model.reasons(), self.model.tried, "unscored")
        not_run = [f"{outcome.name}: {outcome.not_run}" for outcome in self.model.outcomes if outcome.not_run]
        if not_run and self._get(self.config, "strict"):
            why = "; ".join(not_run)
            raise UserError(f"every other score is kept, but these evaluators did not run: {why}")

    @rank_zero_only
    def _settle(self, verb: manifest.Verb, more: dict[str, Any] | None = None) -> None:
        """Compares what determines the rows with what was made before, and keeps the whole configuration.

        What a killed run has left is merged here, where no other process looks for what is missing yet.
        """
        found = self._found() | (more or {})
        self.run.mkdir(parents=True, exist_ok=True)
        self._locks.enter_context(jsonl.locked(self.run / f"{verb}.json"))
        if self._get(self.config, "fresh") and (folder := manifest.set_aside(self.run, verb)):
            rank_zero_info(f"what {verb} had made before is now in {folder}")
        for path in trainer_settings.left_over(self.run):
            rank_zero_info(f"{path}: Lightning has written this in the midst of a step; it is not used.")
        manifest.settle(self.run, verb, found)
        if isinstance(self.datamodule, PromptData):
            merge_records(self.run, RECORDS.get(verb, ()), self.datamodule.order)
        self._save_config(verb)
        if verb == "predict" and isinstance(self.datamodule, PromptData):
            manifest.add(self.run, verb, rows=len(self.datamodule.sampled))

    @rank_zero_only
    def _check_revisions(self) -> None:
        if isinstance(self.datamodule, RevisionData):
            why = manifest.check_revisions(self.datamodule.corpus or self.run / "revisions.jsonl")
            if why:
                print(f"warning: {why}", file=sys.stderr)

    @rank_zero_only
    def _prepare_scoring(self, model: Evaluation) -> None:
        """Makes ready for scores alone: those of other settings are made again row by row, so nothing is compared."""
        model.adapter_digest(self.run)
        self._locks.enter_context(jsonl.locked(self.run / "validate.json"))
        if self._get(self.config, "fresh") and (folder := manifest.set_aside(self.run, "score")):
            rank_zero_info(f"the scores made before are now in {folder}")
        merge_records(self.run, RECORDS["validate"], ())
        self._save_config("score")

    def _save_config(self, name: str) -> None:
        verb = str(self.subcommand)
        self._parser(verb).save(
            self.config[verb], self.run / f"{name}.yaml", skip_none=False, overwrite=True, multifile=False
        )

    def _wait_until_settled(self) -> None:
        """Under srun or torchrun all processes come here at once, while the first still settles."""
        strategy = self.trainer.strategy
        world = strategy.cluster_environment if isinstance(strategy, ParallelStrategy) else None
        if world and world.creates_processes_externally and not launched_by_the_first():
            strategy.setup_environment()
            strategy.barrier("settled")

    def _found(self) -> dict[str, Any]:
        """The settings and the digests of what is read."""
        return manifest.settings({"model": self.model, "data": self.datamodule}) | self._inputs()

    def _inputs(self) -> dict[str, str]:
        parts = [part for part in (self.model, self.datamodule) if isinstance(part, manifest.HasInputs)]
        return {f"digest of {name}": value for part in parts for name, value in part.inputs(self.run).items()}


def _checkpoint(run: Path) -> str:
    """What there is of a training that is interrupted."""
    last = run / "checkpoints" / "last.ckpt"
    if last.exists():
        return f"the same command goes on from {last}"
    return "there is no checkpoint yet, so the same command begins anew"


def _ended(trainer: Trainer) -> bool:
    """Whether a training has come to its own end, rather than to that of its time."""
    early = any(callback.stopping_reason.value for callback in trainer.early_stopping_callbacks)
    epochs, steps = trainer.max_epochs, trainer.max_steps
    return early or (epochs or -1) == trainer.current_epoch or steps == trainer.global_step
