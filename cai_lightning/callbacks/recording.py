"""Who hears of a module's replies and finished records, and the writer that keeps each record at once.

sink = Sink.of(trainer)
sink.stage("revisions", total=979, done=0)
sink.record(revision)
"""

import signal
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer

from cai_lightning.data.labelled import Pair, Preference
from cai_lightning.engines import Choice, Reply
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.manifest import Outputs
from cai_lightning.run.records import Failure, Judgement, Record, Response, Revision, Rollout, Score

SECONDS_BETWEEN_LINES = 30.0
"""Between two lines that say in a log how far a verb is."""


class RecordListener(Callback):
    """A callback that hears of every reply and every finished record of this process."""

    def on_stage(self, name: str, total: int, done: int) -> None:
        """A stage begins: its name, how many rows it has on this process, and how many are done already."""

    def on_reply(self, prompt_tokens: int, tokens: int, cut: bool) -> None:
        """The engine has answered: a conversation of so many tokens by so many, which are cut at their limit or not."""

    def on_choice(self, prompt_tokens: int) -> None:
        """The engine has weighed options behind a conversation of so many tokens."""

    def on_record(self, record: Record) -> None:
        """A record is finished."""

    def on_row(self, failed: bool = False) -> None:
        """A row of the stage is finished, or has failed and is left to the next run."""


class Sink:
    """Takes what a module makes and hands it on to all who listen; without a trainer nobody does.

    Args:
        listeners: Those who hear, in their order.
    """

    def __init__(self, *listeners: RecordListener) -> None:
        self._listeners = listeners

    @classmethod
    def of(cls, trainer: Trainer) -> "Sink":
        """What the listeners among a trainer's callbacks hear."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        return cls(*(callback for callback in callbacks if isinstance(callback, RecordListener)))

    def stage(self, name: str, total: int, done: int) -> None:
        for listener in self._listeners:
            listener.on_stage(name, total, done)

    def reply(self, reply: Reply) -> None:
        for listener in self._listeners:
            listener.on_reply(reply.prompt_tokens, reply.tokens, reply.finish_reason == "length")

    def choice(self, choice: Choice) -> None:
        for listener in self._listeners:
            listener.on_choice(choice.prompt_tokens)

    def record(self, *records: Record) -> None:
        for listener in self._listeners:
            for record in records:
                listener.on_record(record)

    def row(self, failed: bool = False) -> None:
        for listener in self._listeners:
            listener.on_row(failed)


FILES: dict[type[Record], str] = {
    Revision: "revisions.jsonl",
    Failure: "failed.jsonl",
    Response: "responses.jsonl",
    Score: "scores.jsonl",
    Judgement: "pairwise.jsonl",
    Pair: "pairs.jsonl",
    Preference: "preferences.jsonl",
    Rollout: "samples.jsonl",
}

FINISHED = (Revision, Preference)
"""What predict makes in the end."""

UNFINISHED = (Failure, Pair)
"""What stands for a row only as long as that is not made."""


def journals(*kinds: type[Record]) -> tuple[str, ...]:
    """Patterns of the files that records of some kinds are written to, by one process or by several."""
    names = [FILES[kind] for kind in kinds]
    return tuple(pattern for name in names for pattern in (name, name.replace(".", ".rank*.")))


@runtime_checkable
class MakesSeveral(Protocol):
    """A module that makes rows of other ids than those of the prompts."""

    def rows_of(self, id: str) -> list[str]:
        """The ids of all rows that it makes of the prompt with this id, in their order."""


@runtime_checkable
class Recorder(Protocol):
    """A module that makes records; it may come from outside the package."""

    records: tuple[type[Record], ...]
    """The kinds that it hands to its sink, that of its rows first."""

    @property
    def outputs(self) -> Outputs:
        """What it makes in the run's folder."""


class RecordWriter(RecordListener):
    """Keeps the journals of one process.

    Args:
        kinds: The kinds of records that the verb makes.
    """

    def __init__(self, *kinds: type[Record]) -> None:
        self.kinds = kinds
        self._journals: dict[type[Record], jsonl.JournalWriter] = {}

    def open(self, run: Path, rank: int = 0) -> None:
        """Takes the files of this process in the folder of a run."""
        for kind in self.kinds:
            self._journals[kind] = jsonl.JournalWriter(run / FILES[kind], rank)

    def close(self) -> None:
        for journal in self._journals.values():
            journal.close()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.open(Path(trainer.default_root_dir), trainer.global_rank)

    def on_record(self, record: Record) -> None:
        self._journals[type(record)].append(record)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.close()
        try:
            trainer.strategy.barrier("records are written")
        except RuntimeError as error:
            raise UserError(
                "another process of this run has ended before its time; what is finished is kept, and the same command "
                f"goes on from here ({' '.join(str(error).split())})"
            ) from error
        if trainer.is_global_zero:
            order: list[str] = trainer.datamodule.order  # type: ignore[attr-defined]
            merge_records(Path(trainer.default_root_dir), self.kinds, order)
        trainer.strategy.barrier("records are merged")


def merge_records(run: Path, kinds: Iterable[type[Record]], order: Sequence[str]) -> None:
    """Makes one file of those of all processes; a row that was made in the end is no failure and no mere pair any more.

    Args:
        run: Folder of the run.
        kinds: The kinds of records.
        order: Ids of all rows in the order of their source.
    """
    for kind in kinds:
        path = run / FILES[kind]
        if jsonl.rank_files(path):
            made = _made(run) if kind in UNFINISHED else set()
            jsonl.merge(path, order, without=made)


def _made(run: Path) -> set[Hashable]:
    return {id for kind in FINISHED for id in jsonl.read(run / FILES[kind])}


class EndOnTermination(Callback):
    """Lets SIGTERM end a verb at once: what is finished is on disk, and the same command goes on from there.

    Lightning's own handler, put in place after `setup`, waits for the next training step; predict and validate have
    none. With several processes it would wait for the others too, for ever where each got the signal.
    """

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    on_validation_start = on_train_start = on_predict_start
