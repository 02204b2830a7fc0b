"""What was said in a run: the responses that were scored, and the critiques and revisions of the same prompts.

texts = read_texts(Path("runs/qwen_contextual"), run)
texts.responses["0f3a..."].response
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cai_lightning import journal
from cai_lightning.records import Response
from cai_lightning.report.inspection.rows import Row, parse_row
from cai_lightning.report.runs import Run


@dataclass(frozen=True)
class RunTexts:
    """The texts of one run by the prompt's id.

    Args:
        name: What tables call the run.
        responses: What the evaluated model answers.
        revisions: Initial responses with their critiques and revisions, of all prompts that the run has revised.
    """

    name: str
    responses: Mapping[str, Response]
    revisions: Mapping[str, Row]


def read_texts(folder: Path, run: Run) -> RunTexts:
    """The texts of a run.

    Args:
        folder: Its folder; without a `revisions.jsonl` it has revised nothing.
        run: What was read there.

    Raises:
        UserError: A row is malformed; the file and the row are named.
    """
    return RunTexts(run.name, run.responses, _revisions(folder / "revisions.jsonl"))


def _revisions(path: Path) -> dict[str, Row]:
    rows = journal.read(path).values()
    return {row["id"]: parse_row(row, f"{path}, id {row['id']}", row["id"]) for row in rows}
