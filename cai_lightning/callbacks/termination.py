"""Lets SIGTERM end a verb at once: what is finished is on disk, and the same command goes on from there."""

import signal

from lightning.pytorch import Callback, LightningModule, Trainer


class EndOnTermination(Callback):
    """Takes back Lightning's handler, which waits for the next training step; predict and validate have none.

    With several processes it would wait for the others too, for ever where each got the signal. Lightning puts it in
    place after `setup`.
    """

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    on_validation_start = on_train_start = on_predict_start
