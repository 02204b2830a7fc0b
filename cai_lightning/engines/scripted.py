"""Engines without a model.

`ScriptedEngine` says what it is told to, for tests, doctests and dry runs. `RecordedEngine` repeats what a file of
records says, so that `validate` can score texts which nobody needs to generate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cai_lightning.engines.base import Choice, Engine, Reply, Sampling, check_options
from cai_lightning.run import jsonl, manifest
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import UNKNOWN, Conversation, transcript_text, user
from cai_lightning.run.text import split_thoughts


class ScriptedEngine(Engine):
    """Replies from a list, in turn and over again, or from a function of the conversation.

    Args:
        script: The replies, or what makes one from a conversation.
    """

    concurrency = 8
    tells_probabilities = True

    def __init__(self, script: list[str] | Callable[[Conversation], str]) -> None:
        self.model = "scripted"
        self.sampling = Sampling()
        self.asked: list[Conversation] = []
        self.script = script

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        self.asked.clear()

    def stop(self) -> None:
        pass

    async def reply(self, conversation: Conversation, seed: str, logprobs: bool = False) -> Reply:
        self.asked.append(conversation)
        script = self.script
        text = script(conversation) if callable(script) else script[(len(self.asked) - 1) % len(script)]
        words, thought = split_thoughts(text)
        return Reply(words, "stop", len(text.split()), thought=thought)

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> Choice:
        """All on the option that the script says next.

        Raises:
            ReplyError: It says something else.
        """
        check_options(options)
        text = (await self.reply(conversation, "")).text
        if text not in options:
            raise ReplyError(f"the script says {text!r}, which is none of {', '.join(options)}")
        return Choice([float(option == text) for option in options], mass=1.0)


@dataclass(eq=False, repr=False)
class RecordedEngine(Engine):
    """Answers a prompt with what stands beside it in a JSON Lines file, thoughts told apart from words; of several
    samples the first counts.

    Args:
        path: File with a field `prompt`, and `turns` where that is a transcript, such as a run's `revisions.jsonl`.
        field: The field that is the answer, such as `revision` or `initial_response`; what lies deeper is named by its
            path, such as `rounds.0.revision`, the revision of the first round.
    """

    concurrency = 64
    tells_probabilities = False
    path: Path
    field: str = "revision"

    def __post_init__(self) -> None:
        self.model, self.sampling = f"{self.path}:{self.field}", Sampling()
        self._answers: dict[str, str] = {}

    def inputs(self, run: Path) -> dict[str, str]:
        """Digest of the answers, whatever else stands in their file."""
        return {"recorded answers": manifest.digest(self._read())}

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        self._answers = self._read()

    def stop(self) -> None:
        self._answers = {}

    async def reply(self, conversation: Conversation, seed: str, logprobs: bool = False) -> Reply:
        opening = transcript_text(conversation)
        if opening not in self._answers:
            raise UserError(f"{self.path}: no answer to the prompt {conversation[-1]['content'][:80]!r}.")
        text, thought = split_thoughts(self._answers[opening])
        return Reply(text, UNKNOWN, 0, thought=thought)

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> Choice:
        raise UserError(
            f"{self.path}: recorded answers have no probabilities to choose by; name an engine with a model."
        )

    def _read(self) -> dict[str, str]:
        if not self.path.exists():
            raise UserError(f"{self.path}: no such file; it shall hold the recorded answers.")
        answers: dict[str, str] = {}
        for where, row in jsonl.read_lines(self.path):
            answer, opening = _at(row, self.field), row.get("turns") or [user(str(row.get("prompt")))]
            if not isinstance(answer, str):
                raise UserError(f"{where}: field {self.field!r} shall be a text, found {answer!r}.")
            answers.setdefault(transcript_text(opening), answer)
        return answers


def _at(row: jsonl.Row, field: str) -> Any:
    """What stands at a path such as `rounds.0.revision`; None where there is nothing."""
    value: Any = row
    for step in field.split("."):
        if isinstance(value, list):
            value = {str(place): each for place, each in enumerate(value)}
        value = value.get(step) if isinstance(value, dict) else None
    return value
