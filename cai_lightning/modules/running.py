"""What keeps an evaluator from running on this machine, as one clear error: no memory, a package that is not there."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cai_lightning.errors import UserError


@contextmanager
def able_to_run() -> Iterator[None]:
    """Turns what a machine lacks into a `UserError`; every other error is a mistake in the evaluator, and stays one."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not _no_memory(error):
            raise
        raise UserError(f"not enough memory ({_first_sentence(error)}); lower its batch size, or free some.") from error
    except ModuleNotFoundError as error:
        raise UserError(f"the package {error.name} is not installed.") from error


def _no_memory(error: BaseException) -> bool:
    """On a CPU torch raises a plain RuntimeError."""
    return not isinstance(error, RuntimeError) or (
        isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    )


def _first_sentence(error: BaseException) -> str:
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return line.split(". ")[0].rstrip(".")
