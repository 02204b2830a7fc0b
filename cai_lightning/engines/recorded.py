"""An engine that repeats what a file of records says, so that `validate` can score texts nobody needs to generate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cai_lightning import journal, provenance
from cai_lightning.engines.base import Engine, Reply, Sampling
from cai_lightning.errors import UserError
from cai_lightning.records import UNKNOWN, Conversation, transcript_text, user
from cai_lightning.thoughts import split_thoughts


class RecordedEngine(Engine):
    """Answers a prompt with what stands beside it in a JSON Lines file, thoughts told apart from words; of several
    samples the first counts.

    Args:
        path: File with a field `prompt`, and `turns` where that is a transcript, such as a run's `revisions.jsonl`.
        field: The field that is the answer, such as `revision` or `initial_response`; what lies deeper is named by its
            path, such as `rounds.0.revision`, the revision of the first round.
    """

    concurrency = 64

    def __init__(self, path: Path, field: str = "revision") -> None:
        self.model = f"{path}:{field}"
        self.sampling = Sampling()
        self.path = path
        self.field = field
        self._answers: dict[str, str] = {}

    def inputs(self, run: Path) -> dict[str, str]:
        """Digest of the answers, whatever else stands in their file."""
        return {"recorded answers": provenance.digest(self._read())}

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        self._answers = self._read()

    def stop(self) -> None:
        self._answers = {}

    async def reply(self, conversation: Conversation, seed: str) -> Reply:
        opening = transcript_text(conversation)
        if opening not in self._answers:
            raise UserError(f"{self.path}: no answer to the prompt {conversation[-1]['content'][:80]!r}.")
        text, thought = split_thoughts(self._answers[opening])
        return Reply(text, UNKNOWN, 0, thought=thought)

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> list[float]:
        raise UserError(
            f"{self.path}: recorded answers have no probabilities to choose by; name an engine with a model."
        )

    def _read(self) -> dict[str, str]:
        if not self.path.exists():
            raise UserError(f"{self.path}: no such file; it shall hold the recorded answers.")
        answers: dict[str, str] = {}
        for number, row in journal.read_lines(self.path):
            opening = row.get("turns") or [user(str(row.get("prompt")))]
            answers.setdefault(transcript_text(opening), self._answer(number, row))
        return answers

    def _answer(self, line: int, row: journal.Row) -> str:
        answer = _at(row, self.field)
        if not isinstance(answer, str):
            raise UserError(f"{self.path}, line {line}: field {self.field!r} shall be a text, found {answer!r}.")
        return answer


def _at(row: journal.Row, field: str) -> Any:
    """What stands at a path such as `rounds.0.revision`; None where there is nothing."""
    value: Any = row
    for step in field.split("."):
        if isinstance(value, list):
            value = {str(place): each for place, each in enumerate(value)}
        value = value.get(step) if isinstance(value, dict) else None
    return value
