"""Silences what libraries say about choices that are deliberate here, so that what is said is worth reading."""

import logging
import warnings

from transformers.utils import logging as transformers_logging

DELIBERATE = (
    ".*does not have many workers.*",
    ".*predict returned None.*",
    ".*log_every_n_steps.*",
    ".*Checkpoint directory.*exists.*",
    ".*you defined a `validation_step` but.*",
    ".*LeafSpec.*",
    ".*your dataloader is not resumable.*",
    ".*sync_dist=True.*",
    ".*gradient_checkpointing.* is deprecated.*",
)
"""Beginnings of warnings."""

TIPS = ("Tip:", "has Tensor Cores")
"""Parts of what Lightning says: of its makers' products, and of a GPU that would be faster if float32 were less."""


def quiet() -> None:
    """Silences them for the rest of the process."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_is_no_tip)
    for text in DELIBERATE:
        warnings.filterwarnings("ignore", text)


def _is_no_tip(record: logging.LogRecord) -> bool:
    return not any(tip in record.getMessage() for tip in TIPS)
