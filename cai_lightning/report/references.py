"""Similarity of all runs to the references of one, for runs that were validated against different ones.

    runs = with_references(load_runs(paths), paths, Path("runs/qwen_contextual"))

The runs' summaries say which encoder to use. This alone of comparing loads a model; nothing is written into the
runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cai_lightning.report.runs import Run, load_runs
from cai_lightning.report.summary import ColumnScores
from cai_lightning.run.errors import UserError

if TYPE_CHECKING:
    from cai_lightning.metrics import SemanticSimilarity

COLUMN = "semantic_similarity"


def with_references(runs: Sequence[Run], paths: Sequence[Path], source: Path) -> list[Run]:
    """The runs with their similarity to the references of another run in the place of their own.

    Args:
        runs: The runs.
        paths: Their folders, in the same order.
        source: Folder of the run whose references count; it may be one of them.

    Raises:
        UserError: It has no references, no run measures similarity, or two do so with other encoders.
    """
    (origin,) = load_runs([source])
    references = {id: said.reference for id, said in origin.responses.items() if said.reference}
    if not references:
        raise UserError(f"--references {source}: none of its responses has a reference.")
    metric = _metric(runs, paths)
    return [_scored(run, metric, references, str(source)) for run in runs]


def _metric(runs: Sequence[Run], paths: Sequence[Path]) -> "SemanticSimilarity":
    """The evaluator of the runs, loaded."""
    import torch

    from cai_lightning.metrics import SemanticSimilarity

    measured = [(run, path) for run, path in zip(runs, paths, strict=True) if run.entry(COLUMN)]
    encoders = {path: _encoder(run, path) for run, path in measured}
    if not encoders:
        raise UserError(f"--references: none of these runs has {COLUMN} among its metrics.")
    first, *others = encoders
    for other in others:
        if encoders[other] != encoders[first]:
            raise UserError(
                f"--references: {first} measures similarity with the encoder {encoders[first]!r}, {other} with "
                f"{encoders[other]!r}."
            )
    metric = SemanticSimilarity(encoders[first])
    metric.load(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return metric


def _encoder(run: Run, path: Path) -> str:
    """The encoder that a run's similarity was measured with."""
    evaluator = run.entry(COLUMN).get("evaluator")
    encoder = evaluator.get("encoder") if isinstance(evaluator, dict) else None
    if not isinstance(encoder, str):
        raise UserError(
            f"{path / 'summary.json'} does not say which encoder --references is to use. Run validate again."
        )
    return encoder


def _scored(run: Run, metric: "SemanticSimilarity", references: Mapping[str, str], source: str) -> Run:
    responses = [replace(said, reference=references.get(id)) for id, said in run.responses.items()]
    whys = {said.id: metric.inapplicable(said) for said in responses}
    column = ColumnScores(values={}, unscored={id: why for id, why in whys.items() if why})
    if compared := [said for said in responses if not whys[said.id]]:
        ids, scores = [said.id for said in compared], metric.score(compared)
        column.values.update(zip(ids, scores.values[COLUMN].tolist(), strict=True))
        column.details.update(zip(ids, scores.details, strict=True))
    (similarity,) = metric.columns
    scale = [similarity.low, similarity.high]
    entry = {"direction": similarity.direction, "scale": scale, "references": source}
    metrics = run.summary["metrics"] | {COLUMN: entry}
    return replace(run, summary=run.summary | {"metrics": metrics}, scores=run.scores | {COLUMN: column})
