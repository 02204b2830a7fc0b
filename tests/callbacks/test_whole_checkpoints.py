"""A checkpoint that is none of a training is named, with the way out."""

import pytest
import torch

from cai_lightning.callbacks.checkpoints import WholeCheckpoints
from cai_lightning.run.errors import UserError

WHOLE = {"pytorch-lightning_version": "2.6.6", "state_dict": {"weight": torch.ones(2)}}


def test_what_is_saved_is_loaded(tmp_path):
    WholeCheckpoints().save_checkpoint(WHOLE, tmp_path / "last.ckpt")
    assert str(WholeCheckpoints().load_checkpoint(tmp_path / "last.ckpt")) == str(WHOLE)


@pytest.mark.parametrize("content", [{}, [], None, torch.ones(2), {"state_dict": {}}])
def test_what_is_no_checkpoint_is_named(tmp_path, content):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt: no readable checkpoint .* Remove it, or begin anew: --fresh"):
        WholeCheckpoints().load_checkpoint(tmp_path / "last.ckpt")
