"""`inspect` of runs of AI feedback: how sure the labels are, and what they lean on beside the principles.

    figures = measure_labels(read_runs([Path("runs/sandbox_feedback")])[0])
    figures["position_bias"].mean

Every mean has its interval over prompts, of which a pair is no more than a sample.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.console import Group
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from cai_lightning.data.labelled import Label, Preference, Reading
from cai_lightning.report.colors import run_color
from cai_lightning.report.drawing import Key, save_panels
from cai_lightning.report.plots import Line, Mark, forest
from cai_lightning.report.runs import name_runs
from cai_lightning.report.table import (
    NOTHING,
    Document,
    Row,
    Table,
    as_csv,
    console,
    interval_name,
    per_cent,
    tell_written,
    told,
    with_interval,
    write_files,
)
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import shared_id
from cai_lightning.run.text import printable, printable_lines
from cai_lightning.statistics import Interval
from cai_lightning.statistics.agreement import alpha_with_interval, rank_correlation
from cai_lightning.statistics.intervals import Array, PromptNumbers, mean_of_rows, number_prompts

FILE = "preferences.jsonl"
LITTLE, UNDECIDED = 0.5, 0.1
"""A mass of both answers, and a distance of a probability from 1/2, below which a label says little."""


@dataclass(frozen=True)
class Figure:
    """What is measured of every pair that was asked about.

    Args:
        title: What tables call it.
        of: Its value for a pair; NaN where it has none.
        is_share: Whether that is 0, 1, or 1/2 for a tie; shown in per cent.
        sign: Whether it may be negative, and is shown with its sign.
    """

    title: str
    of: Callable[[Preference], float]
    is_share: bool = False
    sign: str = ""


def _longer(row: Preference) -> float:
    """The probability of the longer response."""
    difference = len(row.first) - len(row.second)
    return math.nan if not difference else row.probability if difference > 0 else 1 - row.probability


def _side(probability: float) -> float:
    """1 for the first side, 0 for the second, 1/2 for neither; NaN stays."""
    return math.nan if math.isnan(probability) else 0.5 * (1 + np.sign(probability - 0.5))


def _orders_differ(row: Preference) -> float:
    sides = [[_side(fmean(reading.share for reading in order)) for order in _orders(label)] for label in row.labels]
    return fmean(abs(forth - (1 - back)) for forth, back in sides)


def _orders(label: Label) -> tuple[list[Reading], list[Reading]]:
    return label.first_shown_first, label.second_shown_first


def _agree(row: Preference) -> float:
    sides = {_side(label.probability) for label in row.labels}
    return float(len(sides) == 1) if len(row.labels) > 1 else math.nan


FIGURES = {
    "confidence": Figure("confidence: probability of the preferred one", lambda row: _certain(row.probability)),
    "undecided": Figure(
        f"undecided: within {UNDECIDED} of 1/2", lambda row: float(abs(row.probability - 0.5) < UNDECIDED), True
    ),
    "mass": Figure("mass of both answers", lambda row: fmean(r.mass for label in row.labels for r in label.readings)),
    "little_mass": Figure(
        f"readings with a mass below {LITTLE}",
        lambda row: fmean(r.mass < LITTLE for label in row.labels for r in label.readings),
    ),
    "position_bias": Figure(
        "position bias: for what stands first", lambda row: fmean(label.position_bias for label in row.labels), sign="+"
    ),
    "orders_differ": Figure("both orders prefer what stands in one place", _orders_differ),
    "principles_agree": Figure("all principles prefer the same one", _agree, True),
    "longer": Figure("the longer one is preferred", lambda row: _side(_longer(row)), True),
    "longer_probability": Figure("probability of the longer one", _longer),
    "first": Figure("the first one is preferred", lambda row: _side(row.probability), True),
}


def _certain(probability: float) -> float:
    return max(probability, 1 - probability)


@dataclass(frozen=True)
class LabelledRun:
    """The pairs of one run.

    Args:
        name: What tables call it.
        rows: Its pairs.
        failed: Pairs that were set aside and are not among them.
    """

    name: str
    rows: tuple[Preference, ...]
    failed: int

    @cached_property
    def asked(self) -> list[Preference]:
        """The pairs that the feedback model was asked about."""
        return [row for row in self.rows if row.labels]

    @cached_property
    def prompts(self) -> PromptNumbers:
        """The number of the prompt of each of these."""
        return number_prompts(map(shared_id, self.asked))


def read_runs(paths: Sequence[Path]) -> list[LabelledRun]:
    """Reads runs of AI feedback, finished or not, or files like their preferences.jsonl.

    Raises:
        UserError: There is nothing to read, or a row is malformed.
    """
    names = name_runs([path.parent if path.name == FILE else path for path in paths])
    return [_read(path / FILE if path.is_dir() else path, name) for path, name in zip(paths, names, strict=True)]


def _read(file: Path, name: str) -> LabelledRun:
    rows = read_records(file, Preference)
    if not rows:
        raise UserError(f"{file}: there are no preferences in it.")
    failed = jsonl.read(file.with_name("failed.jsonl")).keys() - rows.keys()
    return LabelledRun(name, tuple(rows.values()), len(failed))


def holds_labels(path: Path) -> bool:
    """Whether this is a run of AI feedback, or the file of one."""
    file = path / FILE
    return path.name == FILE or file.exists() or bool(jsonl.rank_files(file))


def measure_labels(run: LabelledRun, confidence: float = 0.95) -> dict[str, Interval]:
    """Every figure of a run with its interval, over the pairs that were asked about."""
    columns = {name: np.array([figure.of(row) for row in run.asked], float) for name, figure in FIGURES.items()}
    found = {
        name: mean_of_rows(values, run.prompts, FIGURES[name].is_share, confidence) for name, values in columns.items()
    }
    certain = np.array([row.probability for row in run.asked], float)
    longer = np.array([len(row.first) - len(row.second) for row in run.asked], float)
    correlation = rank_correlation(certain, longer, confidence)
    return found | {"alpha": alpha_with_interval(_by_principle(run), run.prompts, confidence), "length": correlation}


def _by_principle(run: LabelledRun) -> Array:
    """The probabilities of each principle, a row each, over the pairs; NaN where it was not drawn."""
    ids = sorted({label.principle_id for row in run.asked for label in row.labels})
    found = np.full((len(ids), len(run.asked)), np.nan)
    for column, row in enumerate(run.asked):
        for label in row.labels:
            found[ids.index(label.principle_id), column] = label.probability
    return found


TITLES = {name: figure.title for name, figure in FIGURES.items()} | {
    "alpha": "agreement of principles (Krippendorff's alpha)",
    "length": "rank correlation of probability and length",
}

Measured = Mapping[str, Mapping[str, Interval]]
"""The figures of each run, by its name."""


def document(runs: Sequence[LabelledRun], measured: Measured, confidence: float) -> Document:
    """Everything that is said of some runs, side by side."""
    counts = [{"": title, **{run.name: of(run) for run in runs}} for title, of in COUNTS.items()]
    figures: list[Row] = [
        {"": title, **{name: _shown(name_of, found[name_of]) for name, found in measured.items()}}
        for name_of, title in TITLES.items()
        if any(found[name_of].n for found in measured.values())
    ]
    notes = [
        f"Brackets are {per_cent(confidence, 'g')} intervals over prompts: Wilson's of shares, Student's of other "
        "means, the bootstrap's of alpha.",
        "Position bias is the mean share of what stands first, less 1/2: both orders together cancel it in the "
        "probabilities. Pairs with identical responses are not asked about and not in the figures.",
    ]
    return Document("Labels", [Table("Labels", [*counts, *figures]), _principles(runs)], notes)


def _shown(name: str, estimate: Interval) -> str:
    if not estimate.n or estimate.mean is None:
        return NOTHING
    figure = FIGURES.get(name)
    if figure and figure.is_share:
        return with_interval(estimate, lambda share: f"{100 * share:.1f}", " %")
    sign = figure.sign if figure else "+"
    return with_interval(estimate, f"{{:{sign}z.3f}}".format)


def _names(values: Iterator[str]) -> str:
    return ", ".join(sorted(set(values))) or NOTHING


COUNTS: dict[str, Callable[[LabelledRun], str]] = {
    "pairs": lambda run: f"{len(run.rows)}",
    "prompts": lambda run: f"{len(set(map(shared_id, run.rows)))}",
    "identical, not asked about": lambda run: f"{len(run.rows) - len(run.asked)}",
    "set aside as failed": lambda run: f"{run.failed}",
    "policy": lambda run: _names(row.model for row in run.rows),
    "feedback model": lambda run: _names(str(row.feedback.get("model")) for row in run.rows),
    "labels of a pair": lambda run: _names(f"{len(row.labels)}" for row in run.asked),
    "chains of thought": lambda run: _names(f"{row.feedback.get('chain_of_thought', 0)}" for row in run.asked),
}


def _principles(runs: Sequence[LabelledRun]) -> Table:
    """How each principle judges: how often it was drawn, how sure it is, and how it leans to the first place."""
    rows: list[Row] = []
    for run in runs:
        labels = [label for row in run.asked for label in row.labels]
        for id, count in Counter(label.principle_id for label in labels).most_common():
            mine = [label for label in labels if label.principle_id == id]
            rows.append(
                {
                    "": id if len(runs) == 1 else f"{id}, {run.name}",
                    "labels": f"{count}",
                    "confidence": told(fmean(_certain(label.probability) for label in mine), ".3f"),
                    "position bias": told(fmean(label.position_bias for label in mine), "+.3f"),
                }
            )
    return Table("Principles", rows)


def inspect_labels(
    paths: Sequence[Path], output: Path | None, sample: int, id: str | None, seed: int, confidence: float
) -> None:
    """Shows the labels of runs, and writes inspection.md, inspection.csv and inspection.png where a folder is named.

    Raises:
        UserError: There is nothing to read, or no pair has this id.
    """
    runs = read_runs(paths)
    if id is not None:
        found = [(run, row) for run in runs for row in run.rows if row.id == id]
        if not found:
            raise UserError(f"--id {id}: no pair of {', '.join(run.name for run in runs)} has this id.")
        _print(found)
        return
    measured = {run.name: measure_labels(run, confidence) for run in runs}
    shown = document(runs, measured, confidence)
    console().print(shown.terminal())
    drawn = ((run, random.Random(seed).sample(run.rows, min(sample, len(run.rows)))) for run in runs)
    _print([(run, row) for run, rows in drawn for row in rows])
    if output:
        interval = interval_name(confidence)
        head = ["figure", "run", "value", f"{interval}_low", f"{interval}_high", "n"]
        rows = ([name, run, *astuple(value)] for run, found in measured.items() for name, value in found.items())
        texts = {"inspection.md": shown.markdown(), "inspection.csv": as_csv(head, rows)}
        tell_written([*write_files(output, texts), *_save_plot(measured, output / "inspection.png", confidence)])


def _save_plot(measured: Measured, path: Path, confidence: float) -> list[Path]:
    names = ("confidence", "mass", "undecided", "orders_differ", "principles_agree", "longer")
    lines = [
        Line(TITLES[name], [Mark(found[name], run_color(place)) for place, found in enumerate(measured.values())])
        for name in names
        if any(found[name].n for found in measured.values())
    ]
    keys = [Key("●", name, run_color(place)) for place, name in enumerate(measured)]
    panel = forest("Labels", lines, "pairs", limits=(0.0, 1.0), percent=True, keys=keys)
    return save_panels(path, [panel], f"{100 * confidence:g} % intervals over prompts.", ["png"])


def _print(pairs: Sequence[tuple[LabelledRun, Preference]]) -> None:
    for run, row in pairs:
        parts: list[Text | Padding] = []
        for label, said in _said(row):
            parts += [Text(f"\n{label}", "bold"), Padding(Text(printable_lines(said)), (0, 0, 0, 2))]
        console().print(Group("", Rule(Text(f"{run.name}  {printable(row.id)}"), align="left"), *parts))


def _said(row: Preference) -> Iterator[tuple[str, str]]:
    for turn in row.turns or []:
        yield turn["role"].capitalize(), turn["content"]
    if not row.turns:
        yield "Human", row.prompt
    yield f"First, better with probability {row.probability:.3f}", row.first
    yield "Second", row.second
    for label in row.labels:
        readings = "; ".join(
            f"{place}: {', '.join(f'{reading.share:.3f} of {reading.mass:.3f}' for reading in order)}"
            for place, order in zip(("shown first", "shown second"), _orders(label), strict=True)
        )
        yield f"Label by {printable(label.principle_id)}", readings
