"""Writes every finished record to its file at once, and makes one file of all ranks' at the end."""

from pathlib import Path
from typing import Protocol, cast

from lightning.pytorch import LightningModule, Trainer

from cai_lightning import journal
from cai_lightning.callbacks.base import RecordListener
from cai_lightning.records import Record, Response, Revision, Score

FILES: dict[type[Record], tuple[str, journal.Key]] = {
    Revision: ("revisions.jsonl", journal.by_id),
    Response: ("responses.jsonl", journal.by_id),
    Score: ("scores.jsonl", journal.by_metric),
}


class Ordered(Protocol):
    """What the data module knows: the ids of all rows, in the order of their source."""

    @property
    def order(self) -> list[str]: ...


class RecordWriter(RecordListener):
    """Keeps the journals of one process.

    Args:
        kinds: The kinds of records that the verb makes.
    """

    def __init__(self, *kinds: type[Record]) -> None:
        self.kinds = kinds
        self._journals: dict[type[Record], journal.JournalWriter] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            self._merge(trainer)  # what a killed run has left is older than whatever is written now
        trainer.strategy.barrier("what was left is merged")
        for kind in self.kinds:
            path = Path(trainer.default_root_dir) / FILES[kind][0]
            self._journals[kind] = journal.JournalWriter(path, trainer.global_rank)

    def on_record(self, record: Record) -> None:
        self._journals[type(record)].append(record)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._close()
        trainer.strategy.barrier("records are written")
        if trainer.is_global_zero:
            self._merge(trainer)
        trainer.strategy.barrier("records are merged")

    def _merge(self, trainer: Trainer) -> None:
        order = cast(Ordered, trainer.datamodule).order  # type: ignore[attr-defined]
        for kind in self.kinds:
            name, key = FILES[kind]
            path = Path(trainer.default_root_dir) / name
            if journal.rank_files(path):
                journal.merge(path, order, key)

    def _close(self) -> None:
        while self._journals:
            self._journals.popitem()[1].close()
