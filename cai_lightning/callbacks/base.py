"""What the modules tell their callbacks while they work: replies that came in, records that are finished."""

from lightning.pytorch import Callback, Trainer

from cai_lightning.engines import Reply
from cai_lightning.records import Record

SECONDS_BETWEEN_LINES = 30.0
"""Between two lines that say in a log how far a verb is."""


class RecordListener(Callback):
    """A callback that hears of every reply and every finished record of this process."""

    def on_stage(self, name: str, total: int, done: int) -> None:
        """A stage begins: its name, how many rows it has on this process, and how many are done already."""

    def on_reply(self, reply: Reply) -> None:
        """The engine has answered."""

    def on_record(self, record: Record) -> None:
        """A record is finished."""

    def on_row(self, failed: bool = False) -> None:
        """A row of the stage is finished, or has failed and is left to the next run."""


def listeners(trainer: Trainer | None) -> list[RecordListener]:
    """The callbacks that listen, in their order; none where no trainer runs the module."""
    callbacks: list[Callback] = trainer.callbacks if trainer else []  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, RecordListener)]
