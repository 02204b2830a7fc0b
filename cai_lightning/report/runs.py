"""The runs that a comparison joins, each with its summary, its scores and a name of its own.

runs = load_runs([Path("runs/qwen_base"), Path("runs/qwen_contextual")])
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai_lightning import provenance
from cai_lightning.errors import UserError
from cai_lightning.record_files import read_records
from cai_lightning.records import Conversation, Response, shared_id, user
from cai_lightning.report.consistency import agreeing
from cai_lightning.report.scores import ColumnScores, read_scores
from cai_lightning.report.summary import read_summary


@dataclass(frozen=True)
class Run:
    """A validated run.

    Args:
        name: What tables call it.
        path: Its folder.
        summary: Its `summary.json`.
        scores: Its scores by column.
        prompts: The ids of the prompts that it was validated on; None where an older summary does not say.
        responses: What the evaluated model answered to them, by id.
    """

    name: str
    path: Path
    summary: dict[str, Any]
    scores: dict[str, ColumnScores]
    prompts: frozenset[str] | None = None
    responses: Mapping[str, Response] = field(default_factory=dict)

    def values(self, column: str) -> dict[str, float]:
        return self.scores[column].values if column in self.scores else {}

    @property
    def prompt_ids(self) -> dict[str, str]:
        """What each response shares with the others to its prompt, by id."""
        return {id: shared_id(response) for id, response in self.responses.items()}

    def entry(self, column: str) -> dict[str, Any]:
        """What the summary says about a column; empty where this run does not have it."""
        entry: dict[str, Any] = self.summary["metrics"].get(column, {})
        return entry


def load_runs(paths: Sequence[Path]) -> list[Run]:
    """Reads the runs in these folders, in this order.

    Raises:
        UserError: No folder is named, one is named twice, one holds no finished `validate`, or a row is malformed.
    """
    if not paths:
        raise UserError("compare needs at least one run, such as runs/qwen_base.")
    names = name_runs(paths)
    return [_load(path, name) for path, name in zip(paths, names, strict=True)]


def name_runs(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many parents before it as make the name the only one of its kind.

    Raises:
        UserError: Two paths are the same folder.
    """
    places = [path.resolve() for path in paths]
    for n, place in enumerate(places):
        if place in places[:n]:
            raise UserError(f"{paths[n]}: this run is named twice.")
    return shortest_names(places)


def shortest_names(places: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many parents before it as tell it from the others."""
    return [_shortest_name(place, [other for other in places if other != place]) for place in places]


def printable(text: str) -> str:
    """The text on one line, with what a terminal would obey instead of show written as escapes."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def read_responses(path: Path, summary: Mapping[str, Any]) -> dict[str, Response]:
    """The responses that a run's summary is about, by id: those of its adapter, to its prompts."""
    prompts, made = _prompts(summary), read_records(path / "responses.jsonl", Response).values()
    adapter = summary.get("adapter")
    return {one.id: one for one in made if one.adapter == adapter and (prompts is None or one.id in prompts)}


def conversation(response: Response) -> Conversation:
    """What a response answers."""
    return response.turns or [user(response.prompt)]


def responses_digest(responses: Mapping[str, Response]) -> str:
    """16 hex digits that stand for the responses of a run, with what they answer."""
    return provenance.digest({id: [conversation(one), one.response] for id, one in responses.items()})


def _load(path: Path, name: str) -> Run:
    summary = read_summary(path)
    prompts, entries = _prompts(summary), summary["metrics"].items()
    made_by = {column: (entry.get("settings"), entry.get("revision")) for column, entry in entries}
    scores = read_scores(path, made_by, summary.get("adapter"), prompts)
    checked, scores = agreeing(path, summary["metrics"], scores)
    return Run(name, path, summary | {"metrics": checked}, scores, prompts, read_responses(path, summary))


def _prompts(summary: Mapping[str, Any]) -> frozenset[str] | None:
    listed = summary.get("prompts")
    return None if listed is None else frozenset(listed)


def _shortest_name(place: Path, others: Sequence[Path]) -> str:
    length = 1
    while any(place.parts[-length:] == other.parts[-length:] for other in others):
        length += 1
    return printable("/".join(place.parts[-length:]))
