"""Everything that is counted and measured in corpora of revisions, with intervals and differences to the first of them.

    inspections = [inspect_corpus(corpus) for corpus in read_corpora(paths)]
    inspections[0].values["commentary"].mean()
    report = compute_figures(inspections)
    report.figures[0].cells[1].difference.p_holm

A report has many differences, of which one in twenty would seem to be one by chance. So their p-values are corrected
for their number, as those of a comparison are.
"""

import math
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from multiprocessing import get_context

import numpy as np
import scipy
from numpy.typing import NDArray

from cai_lightning.data.prompts import prompt_text
from cai_lightning.principles.constitution import Constitution
from cai_lightning.report.corpora import Corpus, Row
from cai_lightning.report.measures import Measure, measure, measures
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import shared_id
from cai_lightning.statistics import Interval, PairedDifference, corrected
from cai_lightning.statistics.intervals import NOTHING, Array, PromptNumbers, gather, mean_of_rows, number_prompts
from cai_lightning.statistics.significance import t_test

MANY = 4_000
"""Rows from which on several processes are worth starting."""
MOST_PROCESSES = 8


@dataclass(frozen=True)
class Inspection:
    """One corpus and its figures.

    Args:
        corpus: The corpus.
        values: The values of each measure, one for each row; NaN where a row has none.
        lengths: Characters and words of the replies of each stage, a column each.
        finish_reasons: How the replies of each stage ended.
        principles: How often each principle was used; those of a known constitution that never were stand at 0.
        is_whole: Whether the constitution is known, so that `principles` holds them all.
    """

    corpus: Corpus
    values: Mapping[str, Array]
    lengths: Mapping[str, NDArray[np.int64]]
    finish_reasons: Mapping[str, Counter[str]]
    principles: Mapping[str, int]
    is_whole: bool

    @property
    def name(self) -> str:
        return self.corpus.name

    @property
    def unused(self) -> list[str]:
        """The principles of a known constitution that were never used."""
        return [name for name, rounds in self.principles.items() if not rounds]

    @property
    def repeated_prompts(self) -> int:
        """How many rows have exactly the prompt of one before them."""
        return len(self.corpus.rows) - len(set(map(prompt_text, self.corpus.rows)))

    @property
    def repeated_revisions(self) -> int:
        return len(self.corpus.rows) - len({row.revision for row in self.corpus.rows})

    @cached_property
    def places(self) -> dict[tuple[str, int], int]:
        """The number of each row by its id and how many rows before it have the same."""
        seen: defaultdict[str, count[int]] = defaultdict(count)
        return {(row.id, next(seen[row.id])): place for place, row in enumerate(self.corpus.rows)}

    @cached_property
    def prompts(self) -> PromptNumbers:
        """The number of the prompt that each row belongs to; repetitions and samples of a prompt share it."""
        return number_prompts(map(shared_id, self.corpus.rows))


def inspect_corpus(corpus: Corpus, constitution: Constitution | None = None) -> Inspection:
    """Measures every row; many rows in several processes.

    Args:
        corpus: The corpus.
        constitution: The principles that its rounds could have; None where they are not known.

    Raises:
        UserError: A principle that was used is not in the constitution.
    """
    rows, principles = corpus.rows, _principles(corpus, constitution)
    values, lengths, finish_reasons = _columns(list(_measured(rows))), _lengths(rows), _finish_reasons(rows)
    return Inspection(corpus, values, lengths, finish_reasons, principles, is_whole=constitution is not None)


def evenness(counts: Collection[int]) -> float:
    """The entropy of counts over the most that it could be: 1 where all are alike, 0 where one has everything.

    >>> evenness([5, 5, 0, 0])
    0.5
    """
    entropy = scipy.special.entr(np.array([*counts]) / sum(counts)).sum()
    return float(entropy) / math.log(len(counts)) if len(counts) > 1 else 1.0


def _principles(corpus: Corpus, constitution: Constitution | None) -> dict[str, int]:
    used = Counter(made.principle_id for row in corpus.rows for made in row.rounds)
    if constitution is None:
        return dict(used.most_common())
    ids = {name: known.id for known in constitution.principles for name in (known.critique_request, known.id)}
    counts = Counter(dict.fromkeys(ids.values(), 0))
    for name, rounds in used.items():
        if name not in ids:
            raise UserError(f"{corpus.name}: it uses {name!r}, which is no principle of {constitution.name}.")
        counts[ids[name]] += rounds
    return dict(counts.most_common())


def _measured(rows: Sequence[Row]) -> Iterator[dict[str, float]]:
    if len(rows) < MANY:
        yield from map(measure, rows)
        return
    from rich.console import Console
    from rich.progress import track

    processes, ignoring_interrupts = min(os.cpu_count() or 1, MOST_PROCESSES), (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(processes, get_context("spawn"), signal.signal, ignoring_interrupts) as pool:
        measured = pool.map(measure, rows, chunksize=100)
        yield from track(measured, "measuring", len(rows), console=Console(stderr=True), transient=True)


def _columns(measured: Sequence[dict[str, float]]) -> dict[str, Array]:
    names = dict.fromkeys(chain.from_iterable(measured))
    return {name: np.array([values.get(name, math.nan) for values in measured]) for name in names}


def _lengths(rows: Sequence[Row]) -> dict[str, NDArray[np.int64]]:
    lengths: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        for stage, text in row.replies.items():
            lengths.setdefault(stage, []).append((len(text), len(text.split())))
    return {stage: np.array(pairs) for stage, pairs in lengths.items()}


def _finish_reasons(rows: Sequence[Row]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        for stage, reason in row.endings.items():
            counts.setdefault(stage, Counter())[reason] += 1
    return counts


@dataclass(frozen=True)
class Cell:
    """One figure of one corpus.

    Args:
        estimate: Its mean and interval.
        difference: That to the first corpus, over the ids in both, or None; its p-value is corrected over all
            differences of the report.
    """

    estimate: Interval
    difference: PairedDifference | None


@dataclass(frozen=True)
class Figure:
    """One measure in every corpus, in their order; `heading` says what it stands under."""

    heading: str
    measure: Measure
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Report:
    """Everything that tables, files and the plot show."""

    inspections: tuple[Inspection, ...]
    figures: tuple[Figure, ...]
    confidence: float

    @property
    def names(self) -> list[str]:
        return [inspection.name for inspection in self.inspections]


def compute_figures(inspections: Sequence[Inspection], confidence: float = 0.95) -> Report:
    """Every measure that at least one corpus has.

    Args:
        inspections: The corpora; differences are to the first of them.
        confidence: Share of intervals that shall hold the true value; p-values up to its complement are significant.
    """
    baseline, rounds = inspections[0], max(len(row.rounds) for one in inspections for row in one.corpus.rows)
    shown = [
        (heading, measure)
        for heading, group in measures(rounds).items()
        for measure in group
        if any(measure.name in one.values for one in inspections)
    ]
    differences = [_difference(measure.name, baseline, one, confidence) for _, measure in shown for one in inspections]
    tested = iter(corrected(differences, 1 - confidence))
    figures = [
        Figure(heading, measure, tuple(Cell(_estimate(measure, one, confidence), next(tested)) for one in inspections))
        for heading, measure in shown
    ]
    return Report(tuple(inspections), tuple(figures), confidence)


def _estimate(measure: Measure, inspection: Inspection, confidence: float) -> Interval:
    if measure.name not in inspection.values:
        return NOTHING
    return mean_of_rows(inspection.values[measure.name], inspection.prompts, measure.unit == "share", confidence)


def _difference(name: str, baseline: Inspection, inspection: Inspection, confidence: float) -> PairedDifference | None:
    both = [id for id in inspection.places if id in baseline.places]
    if inspection is baseline or not both or name not in inspection.values or name not in baseline.values:
        return None
    here, there = [inspection.places[id] for id in both], [baseline.places[id] for id in both]
    differences, prompts = inspection.values[name][here] - baseline.values[name][there], inspection.prompts[here]
    estimate = mean_of_rows(differences, prompts, confidence=confidence)
    left_out = len(inspection.places.keys() ^ baseline.places.keys())
    return PairedDifference(estimate, left_out, t_test(gather(differences, prompts)))
