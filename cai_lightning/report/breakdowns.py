"""What critique and revision do to the answers of a run, by round and by principle, and how far evaluators agree.

    known = known_scores(runs, comparison, recorded)
    by_round(run.name, chains(rows), known)
    by_principle(run, baseline, chains(rows), columns)
    agreement(comparison, runs)

Every answer has words, a similarity to the answer before it, and refuses or does not. A score it has where an evaluator
has met this very text as the response to this prompt: a base model's responses under the same seed are the initial
responses, and recorded runs repeat what was said in a round.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import fmean

import numpy as np
from rapidfuzz.distance import Indel

from cai_lightning.data.cleaning import commentary_spans
from cai_lightning.data.defects import refuses
from cai_lightning.report.comparable import ComparedColumn, metric_columns
from cai_lightning.report.comparison import ColumnComparison, Comparison
from cai_lightning.report.corpora import Revisions
from cai_lightning.report.measures import kept
from cai_lightning.report.runs import Run
from cai_lightning.report.table import NOTHING, Field, Row, Table, per_cent, told
from cai_lightning.run.records import Response
from cai_lightning.statistics.agreement import rank_correlation

MOST_PRINCIPLES = 30
MOST_LETTERS = 90
SIMILARITY = "similarity to the answer before"
FEWEST = 10
"""Responses below which a correlation says nothing."""

Format = Callable[[float | None], str]
SCORE, LENGTH = partial(told, spec=".2f"), partial(told, spec=".1f")

Said = tuple[str, str]
"""A prompt's id and what was answered to it."""


@dataclass(frozen=True)
class Answer:
    """An initial response, or a revision with the answer before it.

    Args:
        id: The prompt's id.
        text: What it says.
        before: The answer that it revises; None for an initial response.
        principle: Id of the principle it was revised by; empty for an initial response.
    """

    id: str
    text: str
    before: "Answer | None" = None
    principle: str = ""

    @cached_property
    def refuses(self) -> bool:
        """Whether it refuses, without the meta-commentary that a revision may have around it."""
        return refuses(kept(self.text, commentary_spans(self.text)) if self.before else self.text)

    @cached_property
    def similarity(self) -> float | None:
        """Indel similarity of its words and those of the answer before; None for an initial response."""
        return Indel.normalized_similarity(self.before.text.split(), self.text.split()) if self.before else None


def chains(rows: Revisions) -> list[list[Answer]]:
    """The answers to every prompt that the run has revised, each list in the order of the rounds."""
    found = []
    for row in rows.values():
        answers = [Answer(row.id, row.initial_response)]
        for made in row.rounds:
            answers.append(Answer(row.id, made.revision, answers[-1], made.principle_id))
        found.append(answers)
    return found


KnownScores = Mapping[Said, float | None]
"""The scores of all answers that an evaluator has met, None where it gave none."""


def known_scores(runs: Sequence[Run], comparison: Comparison, recorded: Sequence[Run] = ()) -> dict[str, KnownScores]:
    """What each column knows from the runs that compare, and from recorded ones that were judged like these."""
    said = {run.name: run.responses for run in (*runs, *recorded)}
    judged = {column.name: column for column in metric_columns([*runs, *recorded])}
    return {
        column.name: _known(judged[column.name], comparison.compared(column), said) for column in comparison.columns
    }


def _known(column: ComparedColumn, compared: Iterable[str], said: Mapping[str, Mapping[str, Response]]) -> KnownScores:
    standards, met = [column.runs[run].judged for run in compared], dict[Said, float | None]()
    for run, measured in column.runs.items():
        if measured.judged in standards:
            for id, response in said[run].items():
                place = id, response.response
                met[place] = measured.values.get(id, met.get(place))
    return met


def _mean_known(known: KnownScores, answers: Iterable[Answer]) -> float | None:
    """The mean score of answers to test prompts; None where the evaluator has not met every single one.

    A mean over the ones that happen to be known would flatter: texts that recur in other runs are no fair sample.
    """
    prompts = {id for id, _ in known}
    said = [(answer.id, answer.text) for answer in answers if answer.id in prompts]
    values = [score for each in said if (score := known.get(each)) is not None]
    return fmean(values) if values and known.keys() >= set(said) else None


Chains = Sequence[Sequence[Answer]]


def by_round(run: str, chains: Chains, known: Mapping[str, KnownScores]) -> Table:
    """One row for the initial responses and one for each revision; a metric that knows none of them has no column."""
    rounds = [[chain[n] for chain in chains if len(chain) > n] for n in range(max(map(len, chains)))]
    scores = {name: [_mean_known(scores, answers) for answers in rounds] for name, scores in known.items()}
    words = [fmean(len(answer.text.split()) for answer in answers) for answers in rounds]
    labels = ["initial response", *(f"revision {n}" for n in range(1, len(rounds)))]
    columns: dict[str, list[Field]] = {
        "answer": [Field(label, f"{len(answers)} prompts") for label, answers in zip(labels, rounds, strict=True)],
        **{name: _means(means, SCORE) for name, means in scores.items() if any(mean is not None for mean in means)},
        "refuse": _means([fmean(answer.refuses for answer in answers) for answers in rounds], per_cent),
        "words": _means(words, LENGTH),
        SIMILARITY: _means([_similarity(answers) for answers in rounds], SCORE),
    }
    return Table(run, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def by_principle(run: Run, baseline: Run, chains: Chains, columns: Iterable[str]) -> Table:
    """One row for each principle, by how often it was used.

    Refusals are those of the answers before and after a revision under it. Scores are those of the baseline's and this
    run's responses to the test prompts among its prompts.
    """
    groups: dict[str, list[Answer]] = defaultdict(list)
    for answer in (answer for chain in chains for answer in chain[1:]):
        groups[answer.principle].append(answer)
    used = sorted(groups, key=lambda principle: -len(groups[principle]))
    shared = [name for name in columns if run.values(name).keys() & baseline.values(name).keys()]
    rows = [_principle(principle, groups[principle], run, baseline, shared) for principle in used[:MOST_PRINCIPLES]]
    left_out = len(used) - len(rows)
    notes = [Field(f"{left_out} principles used less often are left out.")] if left_out else []
    return Table(run.name, rows, notes)


def agreement(comparison: Comparison, runs: Sequence[Run]) -> Table:
    """How alike the columns order the responses; columns where less is better are turned round first.

    A run that another evaluator has judged, or under other settings, is left out: its numbers have another meaning.

    Args:
        comparison: The comparison, whose columns have their directions.
        runs: The runs with their scores.
    """
    columns = comparison.columns
    known = {column.name: scores for column in columns if (scores := _upwards(column, comparison, runs))}
    rows: list[Row] = [
        {"": name, **{other: _correlation(known[name], known[other]) for other in known}} for name in known
    ]
    return Table("Rank correlations", rows)


def _principle(principle: str, answers: Sequence[Answer], run: Run, baseline: Run, columns: Iterable[str]) -> Row:
    prompts = {answer.id for answer in answers}
    refusals = [(answer.before.refuses, answer.refuses) for answer in answers if answer.before]
    label = principle if len(principle) <= MOST_LETTERS else f"{principle[:MOST_LETTERS]}..."
    row = {"principle": Field(label, f"{len(answers)} revisions", query={"principle": principle})}
    for name in columns:
        before, after = baseline.values(name), run.values(name)
        row[name] = _change([(before[id], after[id]) for id in prompts & before.keys() & after.keys()], SCORE)
    return row | {"refuse": _change(refusals, per_cent), SIMILARITY: _means([_similarity(answers)], SCORE)[0]}


def _change(pairs: Sequence[tuple[float, float]], words: Format) -> Field:
    if not pairs:
        return Field(NOTHING)
    before, after = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
    share = after if 0 <= after <= 1 else None
    return Field(f"{words(before)} → {words(after)}", f"n = {len(pairs)}", share=share)


def _means(means: Sequence[float | None], words: Format) -> list[Field]:
    """Means in words, with bars as long as their shares of 1, or of the largest where that is more."""
    known = [mean for mean in means if mean is not None]
    most, least = max([1.0, *known]), min([0.0, *known])
    return [Field(words(mean), share=None if mean is None or least < 0 else mean / most) for mean in means]


def _similarity(answers: Sequence[Answer]) -> float | None:
    values = [answer.similarity for answer in answers if answer.similarity is not None]
    return fmean(values) if values else None


Scores = Mapping[tuple[str, str], float]


def _upwards(column: ColumnComparison, comparison: Comparison, runs: Sequence[Run]) -> Scores:
    """The scores of all runs that compare, by run and id; higher is better."""
    sign, compared = -1 if column.direction == "lower" else 1, comparison.compared(column)
    alike = [run for run in runs if run.name in compared]
    return {(run.name, id): sign * value for run in alike for id, value in run.values(column.name).items()}


def _correlation(a: Scores, b: Scores) -> Field:
    """Spearman's; nothing where too few responses have both scores, or one of the two never varies."""
    both = sorted(a.keys() & b.keys())
    x, y = (np.array([scores[key] for key in both]) for scores in (a, b))
    found = rank_correlation(x, y)
    rho = None if found.n < FEWEST else found.mean
    return Field(told(rho, ".2f"), f"n = {found.n}", share=None if rho is None else abs(rho))
