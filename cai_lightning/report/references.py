"""Similarity of all runs to the references of one, for runs that were validated against different ones.

    runs = with_references(load_runs(paths), paths, Path("runs/qwen_contextual"))

The runs' `validate.yaml` says which encoder to use. This alone of comparing loads a model; nothing is written into the
runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cai_lightning.errors import UserError
from cai_lightning.records import Response
from cai_lightning.report.runs import Run, load_runs
from cai_lightning.report.scores import ColumnScores

if TYPE_CHECKING:
    from cai_lightning.metrics import SemanticSimilarity

COLUMN = "semantic_similarity"
CLASS = "SemanticSimilarity"
_SETTINGS = ("encoder", "batch_size")
_FIELDS = {field.name for field in fields(Response)}


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
    references = {id: row["reference"] for id, row in origin.responses.items() if row.get("reference")}
    if not references:
        raise UserError(f"--references {source}: none of its responses has a reference.")
    metric = _metric(paths)
    return [_scored(run, metric, references, str(source)) for run in runs]


def _metric(paths: Sequence[Path]) -> "SemanticSimilarity":
    """The evaluator of the runs, loaded."""
    import torch

    from cai_lightning.metrics import SemanticSimilarity

    settings = {path: found for path in paths if (found := _settings(path)) is not None}
    if not settings:
        raise UserError(f"--references: none of these runs has {CLASS} among its metrics.")
    first, *others = settings
    for other in others:
        if settings[other].get("encoder") != settings[first].get("encoder"):
            raise UserError(
                f"--references: {first} measures similarity with the encoder {settings[first].get('encoder')!r}, "
                f"{other} with {settings[other].get('encoder')!r}."
            )
    metric = SemanticSimilarity(**settings[first])
    metric.load(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return metric


def _settings(path: Path) -> dict[str, Any] | None:
    """What a run's `validate.yaml` gives its measure of similarity; None where it has none."""
    file = path / "validate.yaml"
    if not file.is_file():
        raise UserError(f"{file} is missing: it says which encoder --references is to use. Run validate again.")
    try:
        metrics = yaml.safe_load(file.read_text(encoding="utf-8"))["model"]["init_args"]["metrics"]
        found = [metric for metric in metrics if metric["class_path"].rpartition(".")[2] == CLASS]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: no list of metrics at model.init_args.metrics. Run validate again.") from None
    settings = dict(found[0].get("init_args") or {}) if found else None
    return settings if settings is None else {name: settings[name] for name in _SETTINGS if name in settings}


def _scored(run: Run, metric: "SemanticSimilarity", references: Mapping[str, str], source: str) -> Run:
    responses = [
        Response(**{key: value for key, value in row.items() if key in _FIELDS} | {"reference": references.get(id)})
        for id, row in run.responses.items()
    ]
    scores = metric.score(responses)
    values = scores.values[COLUMN].tolist()
    column = ColumnScores(
        values={r.id: v for r, v, why in zip(responses, values, scores.reasons, strict=True) if why is None},
        unscored={r.id: why for r, why in zip(responses, scores.reasons, strict=True) if why is not None},
    )
    entry = {"direction": "higher", "references": source}
    metrics = run.summary["metrics"] | {COLUMN: entry}
    return replace(run, summary=run.summary | {"metrics": metrics}, scores=run.scores | {COLUMN: column})
