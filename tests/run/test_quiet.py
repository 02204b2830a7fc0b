"""What libraries say of deliberate choices is not passed on, and everything else is."""

import logging
import warnings

import pytest

from cai_lightning.run.processes import quiet

SAID = [
    ("lightning.pytorch", "Tip: For seamless cloud uploads, try another product", False),
    ("lightning.fabric", "You are using a CUDA device ('NVIDIA H200') that has Tensor Cores. To use them, ...", False),
    ("lightning.pytorch", "`Trainer.fit` stopped: `max_epochs=1` reached.", True),
    ("lightning.fabric", "Using bfloat16 Automatic Mixed Precision (AMP)", True),
]


@pytest.mark.parametrize(("name", "text", "passes"), SAID)
def test_tips_are_held_back_where_they_would_be_written(monkeypatch, name, text, passes):
    handler = logging.NullHandler()
    monkeypatch.setattr(logging.getLogger(name), "handlers", [handler])
    quiet()
    record = logging.LogRecord(f"{name}.utilities", logging.INFO, "", 0, text, (), None)
    assert bool(handler.filter(record)) is passes


def test_warnings_of_deliberate_choices_are_ignored():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        quiet()
        warnings.warn("The 'predict_dataloader' does not have many workers which may be a bottleneck.", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["something else"]
