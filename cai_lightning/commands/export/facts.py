"""What a model card says about a run, read from the run's own notes.

facts = read_facts(Path("runs/qwen_contextual"), weights)
"""

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from cai_lightning.commands.export.weights import Weights
from cai_lightning.data import RevisionData
from cai_lightning.data.revisions import RecordedRevision, read_revisions
from cai_lightning.report.summary import FILE, read_summary
from cai_lightning.run import manifest
from cai_lightning.run.config import load_yaml
from cai_lightning.run.errors import UserError
from cai_lightning.run.reading import read_json

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Corpus:
    """What was trained on.

    Args:
        rows: How many revisions there are, before those of the test part are left out.
        counts: What was changed and left out when they were read, as in the `Corpus` of training.
        models: The models that wrote them.
        constitutions: Name and digest of what they were revised by.
        few_shots: Those of the examples in front of the critiques; none where there were none.
    """

    rows: int
    counts: Mapping[str, int]
    models: tuple[str, ...]
    constitutions: tuple[str, ...]
    few_shots: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """All that a model card says, as it was found; none of it is fit to print yet.

    Args:
        run: Name of the run.
        weights: What is exported.
        fit: The settings of the training, by dotted name.
        predict: Those of the revisions; empty where their notes are not beside them.
        corpus: None where what was trained on is no longer there.
        scores: `metrics` of the run's summary, by column, if it speaks of this very model; otherwise empty.
        unscored: Why there are no scores.
    """

    run: str
    weights: Weights
    fit: Settings
    predict: Settings
    corpus: Corpus | None
    scores: Mapping[str, Mapping[str, Any]]
    unscored: str = ""


def read_facts(run: Path, weights: Weights) -> Facts:
    """Reads what there is; a note that is missing is left out of the card.

    Raises:
        UserError: A note is broken.
    """
    fit = _settings(run / "fit.json")
    data = _data(run, fit.get("digest of corpus"))
    source = (data.corpus or run / "revisions.jsonl") if data else None
    scores, unscored = _scores(run, weights)
    return Facts(
        run.resolve().name,
        weights,
        fit,
        _settings(source.with_name("predict.json")) if source else {},
        _corpus(source, data.corpus is None, data.counts(run)) if data and source else None,
        scores,
        unscored,
    )


def _settings(path: Path) -> Settings:
    if not path.is_file():
        return {}
    return read_json(path, manifest.Note, "note of a run").settings


def _data(run: Path, digest: object) -> RevisionData | None:
    """What has read the revisions for fit; None where they are gone, are others by now, or it cannot be told."""
    settings = _data_settings(run)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RevisionData, "data")
    try:
        data: RevisionData = parser.instantiate_classes(parser.parse_object({"data": settings})).data
        return data if data.inputs(run)["corpus"] == digest else None
    except (ArgumentError, ValueError, UserError):
        return None


def _data_settings(run: Path) -> dict[str, Any]:
    """What fit's configuration says of its data."""
    path = run / "fit.yaml"
    try:
        config = load_yaml(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return dict(config.get("data", {}).get("init_args", {}))
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not the configuration of a run ({str(error).splitlines()[0]})") from None


def _corpus(path: Path, own: bool, counts: Mapping[str, int]) -> Corpus:
    rows = [row for _, row in read_revisions(path, own)[0]]
    models = {str(row.model) for row in rows if row.model}
    return Corpus(len(rows), counts, tuple(sorted(models)), _named(rows, "constitution"), _named(rows, "few_shots"))


def _named(rows: Sequence[RecordedRevision], field: str) -> tuple[str, ...]:
    found = [value for row in rows if isinstance(value := getattr(row, field), dict)]
    return tuple(sorted({f"{one.get('name')} (digest {one.get('digest')})" for one in found}))


def _scores(run: Path, weights: Weights) -> tuple[Mapping[str, Mapping[str, Any]], str]:
    if not (run / FILE).is_file():
        return {}, "This model has not been evaluated."
    summary = read_summary(run)
    if summary.get("adapter") != manifest.folder_digest(weights.folder):
        return {}, "The run's scores are those of another model."
    return summary["metrics"], ""
