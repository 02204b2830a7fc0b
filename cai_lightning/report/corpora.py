"""Revisions, read for reports: a run's own, or the original experiment's with its single round.

    corpora = read_corpora([Path("runs/qwen_contextual"), Path("elsewhere/revisions.jsonl")])
    read_rows(Path("runs/qwen_contextual"))["0f3a..."].rounds

Thoughts, which old files hold in their texts, stand beside the words.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cai_lightning.data.corpus import RecordedRevision, RecordedRound, read_journal, read_revisions, replies_by_stage
from cai_lightning.report.runs import name_runs
from cai_lightning.run import jsonl
from cai_lightning.run.records import UNKNOWN, AboutPrompt, Round, prompt_id
from cai_lightning.run.text import Said, join_thoughts, split_thoughts

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Row(AboutPrompt):
    """A prompt with its initial response and its rounds; what a foreign corpus does not record is empty.

    Args:
        initial_response: What the model answered first.
        rounds: The rounds, at least one; a direct revision has no critique.
        revision: The revision of the last round.
        endings: The finish reason of every reply, by stage; none where the corpus records none.
        model: Who wrote it.
        thoughts: What was thought before each reply, by stage; recorded, or left in the text by others.
    """

    initial_response: str
    rounds: tuple[Round, ...]
    revision: str
    endings: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    thoughts: Mapping[str, str] = field(default_factory=dict)

    @property
    def replies(self) -> dict[str, str]:
        """Its replies by stage: `response`, `critique 1`, `revision 1` and so on."""
        return replies_by_stage(self.initial_response, self.rounds)


def _row(recorded: RecordedRevision, id: str, where: str) -> Row:
    """The row with its thoughts, those that were left in its texts among them, beside its words."""
    said = {stage: split_thoughts(text) for stage, text in recorded.replies.items()}
    recorded.first_response(where)
    known = recorded.by_stage(recorded.thoughts)
    thoughts = {stage: join_thoughts([known[stage], one.thought]) for stage, one in said.items()}
    return Row(
        id=id,
        prompt=recorded.prompt,
        initial_response=said["response"].words,
        rounds=tuple(_round(made, number, said) for number, made in enumerate(recorded.all_rounds, 1)),
        revision=split_thoughts(recorded.revision).words,
        endings={stage: end or UNKNOWN for stage, end in recorded.endings.items()} if recorded.finish_reasons else {},
        model=str(recorded.model or ""),
        turns=recorded.turns,
        prompt_id=recorded.prompt_id,
        thoughts={stage: thought for stage, thought in thoughts.items() if thought},
    )


def _round(made: RecordedRound, number: int, said: Mapping[str, Said]) -> Round:
    principle = NOT_RECORDED if made.principle_used is None else made.principle_used
    return Round(
        principle_id=principle if made.principle_id is None else made.principle_id,
        similarity=made.similarity,
        principle_used=principle,
        revision_request=made.revision_request or "",
        critique=None if made.critique is None else said[f"critique {number}"].words,
        revision=said[f"revision {number}"].words,
    )


FILE = "revisions.jsonl"
LACKING = {
    "id": "no ids: they are made from the prompts",
    "finish_reasons": "no finish reasons: what was cut off is not known",
    "rounds": "no rounds: every row is taken as one",
}
"""What is said of a corpus whose rows lack a field."""


@dataclass(frozen=True)
class Corpus:
    """The rows of one run.

    Args:
        name: What tables call it.
        rows: Its rows; of a run each id once.
        failed: Number of prompts that were set aside and are not among the rows.
        repeated: Number of rows that were left out because another says exactly the same.
        lacking: What it does not record, in words.
    """

    name: str
    rows: tuple[Row, ...]
    failed: int = 0
    repeated: int = 0
    lacking: tuple[str, ...] = ()


def read_corpora(paths: Sequence[Path]) -> list[Corpus]:
    """Reads runs, or files of revisions, in this order.

    Raises:
        UserError: There is nothing to read, a path is named twice, or a row is malformed; file and line are named.
    """
    names = name_runs([path.parent if path.name == FILE else path for path in paths])
    return [_read(path, name) for path, name in zip(paths, names, strict=True)]


def _read(path: Path, name: str) -> Corpus:
    """A run's journal, in which the last line of an id counts, or a given file, whose every row is one of its own."""
    file = path / FILE if path.is_dir() else path
    found, repeated = read_revisions(file, own=path.is_dir())
    seen: Counter[str] = Counter()
    rows: list[Row] = []
    for where, recorded in found:
        seen[recorded.prompt] += 1
        rows.append(_row(recorded, recorded.id or prompt_id(recorded.prompt, seen[recorded.prompt]), where))
    failed = jsonl.read(file.with_name("failed.jsonl")).keys() - {row.id for row in rows}
    lacking = [words for field, words in LACKING.items() if any(getattr(row, field) is None for _, row in found)]
    return Corpus(name, tuple(rows), len(failed), repeated, tuple(lacking))


Revisions = Mapping[str, Row]
"""What a run has revised, by the prompt's id."""


def read_rows(folder: Path) -> Revisions:
    """The rows that a run has revised, of all its prompts, by the prompt's id; none where it has revised nothing.

    Args:
        folder: The run's folder.

    Raises:
        UserError: A row is malformed; the file and the row are named.
    """
    return {id: _row(recorded, id, where) for id, (where, recorded) in read_journal(folder / FILE).items()}
