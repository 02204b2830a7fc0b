"""Serves without a trainer, one model in memory at a time: on the accelerator where there is one, on one event loop.

with serving(engine, lambda: engine.start(device(), adapter)) as runner:
    reply = wait_for(runner, engine.reply(conversation, seed))
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from cai_lightning.engines import Engine
from cai_lightning.errors import ReplyError, UserError

T = TypeVar("T")


@contextmanager
def serving(engine: Engine, start: Callable[[], None]) -> Iterator[asyncio.Runner]:
    """Keeps an engine started, with the event loop on which its replies are awaited.

    Args:
        engine: What is freed at the end.
        start: Starts it, and whatever else is needed.
    """
    with asyncio.Runner() as runner:
        try:
            start()
            yield runner
        finally:
            engine.stop()


def wait_for(runner: asyncio.Runner, coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns.

    Raises:
        UserError: The engine has no reply.
    """
    try:
        return runner.run(coroutine)
    except ReplyError as error:
        raise UserError(f"no reply: {error}") from error


def device() -> torch.device:
    """The accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
