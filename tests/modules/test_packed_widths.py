"""On a GPU packed rows have few widths, which changes no loss, no gradient and no count."""

import random
from types import SimpleNamespace

import pytest
import torch

from cai_lightning.data import RevisionData
from cai_lightning.data.batches import GRAIN, IGNORED, Example, pack
from cai_lightning.models.adapters import Lora
from cai_lightning.models.hub import load_model
from cai_lightning.modules.sft import SupervisedFineTuning


@pytest.fixture(scope="module")
def tuning(tiny_model):
    """In float64, so that what is left of a difference is no rounding."""
    module = SupervisedFineTuning(str(tiny_model), Lora(r=4), base_dtype="float32")
    module.configure_model()
    return module.double()


def example(draw, most=60):
    ids = [draw.randrange(1, 300) for _ in range(draw.randint(2, most))]
    known = draw.randrange(len(ids))
    return Example(str(draw.random()), ids, [IGNORED] * known + ids[known:], truncated=False)


def loss_and_gradient(tuning, batch):
    tuning.zero_grad()
    loss, tokens = tuning.summed_loss(batch)
    loss.backward()
    return loss.detach(), tokens, [p.grad.clone() for p in tuning.parameters() if p.grad is not None]


@pytest.mark.parametrize("seed", range(20))
def test_filling_changes_no_loss_and_no_gradient(tuning, seed):
    draw = random.Random(seed)
    rows = [example(draw) for _ in range(draw.randint(1, 6))]
    grain = draw.choice([2, 7, 64, GRAIN])
    plain, filled = pack(rows, 1), pack(rows, 1, grain)
    assert filled["input_ids"].shape[1] % grain == 0
    assert filled["input_ids"].shape[1] - plain["input_ids"].shape[1] < grain
    assert filled["tokens"] == plain["tokens"] == sum(len(row.input_ids) for row in rows)
    loss, tokens, gradient = loss_and_gradient(tuning, plain)
    assert tokens == sum(label != IGNORED for row in rows for label in row.labels[1:])
    same_loss, same_tokens, same_gradient = loss_and_gradient(tuning, filled)
    assert same_tokens == tokens
    torch.testing.assert_close(same_loss, loss, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(same_gradient, gradient, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("device", "grain"), [("cuda", GRAIN), ("cpu", 1)])
def test_an_epoch_on_a_gpu_has_few_widths(device, grain):
    draw = random.Random(0)
    data = RevisionData(batch_size=4, max_tokens=1000)
    data.examples = {part: [example(draw, 400) for _ in range(400)] for part in ("train", "validation")}
    strategy = SimpleNamespace(root_device=torch.device(device))
    data.trainer = SimpleNamespace(
        strategy=strategy, accumulate_grad_batches=1, world_size=1, global_rank=0, current_epoch=0
    )
    for batches in (data.train_dataloader(), data.val_dataloader()):
        widths = [batch["input_ids"].shape[1] for batch in batches]
        assert all(width % grain == 0 for width in widths)
        assert len(set(widths)) <= 8 if device == "cuda" else len(set(widths)) > 50


def test_attention_is_not_cudnns(tiny_model):
    torch.backends.cuda.enable_cudnn_sdp(True)
    load_model(str(tiny_model))
    assert not torch.backends.cuda.cudnn_sdp_enabled()
