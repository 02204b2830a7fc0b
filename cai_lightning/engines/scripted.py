"""An engine that says what it is told to: for tests, doctests and dry runs."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from cai_lightning.engines.base import Engine, Reply, Sampling
from cai_lightning.errors import ReplyError
from cai_lightning.records import Conversation
from cai_lightning.thoughts import split_thoughts


class ScriptedEngine(Engine):
    """Replies from a list, in turn and over again, or from a function of the conversation.

    Args:
        script: The replies, or what makes one from a conversation.
    """

    concurrency = 8

    def __init__(self, script: list[str] | Callable[[Conversation], str]) -> None:
        self.model = "scripted"
        self.sampling = Sampling()
        self.asked: list[Conversation] = []
        self.script = script

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        self.asked.clear()

    def stop(self) -> None:
        pass

    async def reply(self, conversation: Conversation, seed: str) -> Reply:
        self.asked.append(conversation)
        script = self.script
        text = script(conversation) if callable(script) else script[(len(self.asked) - 1) % len(script)]
        words, thought = split_thoughts(text)
        return Reply(words, "stop", len(text.split()), thought=thought)

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> list[float]:
        """All on the option that the script says next.

        Raises:
            ReplyError: It says something else.
        """
        text = (await self.reply(conversation, "")).text
        if text not in options:
            raise ReplyError(f"the script says {text!r}, which is none of {', '.join(options)}")
        return [float(option == text) for option in options]
