"""The best state is that of the objective's own figure, lowest or highest."""

from types import SimpleNamespace

import pytest

from cai_lightning.callbacks import checkpoints
from cai_lightning.callbacks.checkpoints import BestCheckpoint
from cai_lightning.run.errors import UserError


@pytest.mark.parametrize(("mode", "kept"), [("min", [3.0, 2.0, 1.0]), ("max", [3.0, 4.0])])
def test_only_a_better_validation_is_kept(mode, kept, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "trained_state", lambda module: {})
    monkeypatch.setattr(checkpoints.manifest, "add", lambda *arguments, **facts: None)
    saved, best = [], BestCheckpoint()
    for reward in [3.0, 2.0, 2.0, 4.0, 1.0]:
        trainer = SimpleNamespace(
            sanity_checking=False, callback_metrics={"val_reward": reward, "val_loss": float("nan")}, current_epoch=0,
            default_root_dir=tmp_path, is_global_zero=True, global_step=1, estimated_stepping_batches=2, callbacks=[],
        )  # fmt: skip
        module = SimpleNamespace(
            monitor=("val_reward", mode), output="adapter", save=lambda *_, reward=reward: saved.append(reward)
        )
        best.on_validation_end(trainer, module)
    assert saved == kept
    trainer.callback_metrics["val_reward"] = float("nan")
    with pytest.raises(UserError, match="validation val_reward is nan"):
        best.on_validation_end(trainer, module)
