"""The runs that a comparison joins: each with its summary, its scores and a name of its own, gathered into arms.

    runs = load_runs([Path("runs/qwen_base"), Path("runs/qwen_contextual@1"), Path("runs/qwen_contextual@2")])
    arms_of(runs)
    # {'qwen_base': ('qwen_base',), 'qwen_contextual': ('qwen_contextual@1', 'qwen_contextual@2')}
    runs = with_references(runs, Path("runs/qwen_base"))

An arm is one experiment fine-tuned under several seeds. Folders beside each other whose names share the part before `@`
are one arm; runs in other folders are of another experiment, whatever their names. An interval takes the fine-tunings
of an arm for independent draws, so a copy of one is refused.

Runs that were validated against different references do not compare in their similarity to them. `with_references`
measures all of them against those of one run, with the encoder that their summaries name. This alone of comparing loads
a model; nothing is written into the runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_lightning.report.summary import ColumnScores, agreeing, read_scores, read_summary
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import Conversation, Response, user
from cai_lightning.run.text import printable

if TYPE_CHECKING:
    from cai_lightning.metrics import SemanticSimilarity


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

    def entry(self, column: str) -> dict[str, Any]:
        """What the summary says about a column; empty where this run does not have it."""
        entry: dict[str, Any] = self.summary["metrics"].get(column, {})
        return entry


def load_runs(paths: Sequence[Path]) -> list[Run]:
    """Reads the runs in these folders, in this order.

    Raises:
        UserError: A folder is named twice, one holds no finished `validate`, or a row is malformed.
    """
    return [_load(path, name) for path, name in zip(paths, name_runs(paths), strict=True)]


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
    names = []
    for place in places:
        length, others = 1, [other for other in places if other != place]
        while any(place.parts[-length:] == other.parts[-length:] for other in others):
            length += 1
        names.append(printable("/".join(place.parts[-length:])))
    return names


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
    return manifest.digest({id: [conversation(one), one.response] for id, one in responses.items()})


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


SEED = "@"
"""What stands in a folder's name before the seed."""

Arms = Mapping[str, tuple[str, ...]]
"""The names of the runs that make up each arm, by the arm's name."""


def arms_of(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """The arms of runs, in the order of their first runs; a run without fellows keeps its name.

    Raises:
        UserError: Two runs of an arm have the same adapter, so they are one fine-tuning.
    """
    fellows: dict[Path, list[Run]] = {}
    for run in runs:
        place = run.path.resolve()
        experiment = place.with_name(place.name.partition(SEED)[0] or place.name)
        fellows.setdefault(experiment, []).append(run)
    names = shortest_names(list(fellows))
    for arm in fellows.values():
        _refuse_copies(arm)
    return {
        name if len(arm) > 1 else arm[0].name: tuple(run.name for run in arm)
        for name, arm in zip(names, fellows.values(), strict=True)
    }


def arm_of(run: str, arms: Arms) -> str:
    """The arm that a run belongs to; the name of an arm stands for itself."""
    return next(arm for arm, names in arms.items() if run in (arm, *names))


def _refuse_copies(arm: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in arm:
        adapter = run.summary.get("adapter")
        if adapter is not None and (other := seen.setdefault(adapter, run)) is not run:
            raise UserError(
                f"{other.path} and {run.path} have the same adapter ({adapter}): one fine-tuning, not two seeds of an "
                "arm. Name only one of them, or give the folders names that differ before the `@`."
            )


COLUMN = "semantic_similarity"


def with_references(runs: Sequence[Run], source: Path) -> list[Run]:
    """The runs with their similarity to the references of another run in the place of their own.

    Args:
        runs: The runs.
        source: Folder of the run whose references count; it may be one of them.

    Raises:
        UserError: It has no references, no run measures similarity, or two do so with other encoders.
    """
    (origin,) = load_runs([source])
    references = {id: said.reference for id, said in origin.responses.items() if said.reference}
    if not references:
        raise UserError(f"--references {source}: none of its responses has a reference.")
    metric = _metric(runs)
    return [_scored(run, metric, references, str(source)) for run in runs]


def _metric(runs: Sequence[Run]) -> "SemanticSimilarity":
    """The evaluator of the runs, loaded."""
    import torch

    from cai_lightning.metrics import SemanticSimilarity

    encoders = {run.path: _encoder(run) for run in runs if run.entry(COLUMN)}
    if not encoders:
        raise UserError(f"--references: none of these runs has {COLUMN} among its metrics.")
    (first, encoder), *others = encoders.items()
    for other, its in others:
        if its != encoder:
            raise UserError(
                f"--references: {first} measures similarity with the encoder {encoder!r}, {other} with {its!r}."
            )
    metric = SemanticSimilarity(encoder)
    metric.load(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return metric


def _encoder(run: Run) -> str:
    """The encoder that a run's similarity was measured with."""
    encoder = (run.entry(COLUMN).get("evaluator") or {}).get("encoder")
    if not encoder:
        path = run.path / "summary.json"
        raise UserError(f"{path} does not say which encoder --references is to use. Run validate again.")
    return str(encoder)


def _scored(run: Run, metric: "SemanticSimilarity", references: Mapping[str, str], source: str) -> Run:
    responses = [replace(said, reference=references.get(id)) for id, said in run.responses.items()]
    whys = {said.id: said.why_silent or metric.inapplicable(said) for said in responses}
    column = ColumnScores(values={}, unscored={id: why for id, why in whys.items() if why})
    if compared := [said for said in responses if not whys[said.id]]:
        ids, scores = [said.id for said in compared], metric.score(compared)
        column.values.update(zip(ids, scores.values[COLUMN].tolist(), strict=True))
        column.details.update(zip(ids, scores.details, strict=True))
    (similarity,) = metric.columns
    scale = [similarity.low, similarity.high]
    entry = {"direction": similarity.direction, "scale": scale, "references": source, "not_run": None}
    metrics = run.summary["metrics"] | {COLUMN: entry}
    return replace(run, summary=run.summary | {"metrics": metrics}, scores=run.scores | {COLUMN: column})
