"""Everything that the page shows, worked out from a comparison and the texts of its runs. Pure functions.

page = page_of(comparison, runs, texts)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cai_lightning.report.arms import arm_of
from cai_lightning.report.cells import Comparison
from cai_lightning.report.page.agreement import Agreement, agreement
from cai_lightning.report.page.answers import chains, known_scores
from cai_lightning.report.page.breakdowns import BarTable, by_category
from cai_lightning.report.page.cards import Card, card
from cai_lightning.report.page.distributions import Distribution, distribution
from cai_lightning.report.page.rounds import by_principle, by_round
from cai_lightning.report.page.tradeoffs import Tradeoff, tradeoffs
from cai_lightning.report.page.verdict import verdict_sentence
from cai_lightning.report.page.viewer import viewer_data
from cai_lightning.report.page.win_rates import WinLine, win_lines
from cai_lightning.report.runs import Run
from cai_lightning.report.texts import RunTexts
from cai_lightning.report.words import notes, ranking, warnings


@dataclass(frozen=True)
class Named:
    """A run with the number of its color, and something to say about it."""

    name: str
    number: int
    remark: str


@dataclass(frozen=True)
class Page:
    """What the template writes down.

    Args:
        comparison: The comparison itself.
        verdict: Its verdict in one sentence.
        warnings: What makes its figures misleading.
        runs: The runs with their models.
        cards: Every metric.
        behaviours: What is read off the responses without a model.
        standings: The overall ranking in words.
        win_rates: How runs do against each other before a judge.
        tradeoffs: Helpfulness against harmlessness.
        distributions: The scores of every metric.
        categories: Means by category of prompts.
        rounds: The answers of each run's chains by round.
        principles: The same by principle.
        agreement: How alike the evaluators order the responses.
        notes: How to read it, and what does not compare.
        data: The conversations for the viewer.
    """

    comparison: Comparison
    verdict: str
    warnings: tuple[str, ...]
    runs: tuple[Named, ...]
    cards: tuple[Card, ...]
    behaviours: tuple[Card, ...]
    standings: tuple[str, ...]
    win_rates: tuple[WinLine, ...]
    tradeoffs: tuple[Tradeoff, ...]
    distributions: tuple[Distribution, ...]
    categories: tuple[BarTable, ...]
    rounds: tuple[BarTable, ...]
    principles: tuple[BarTable, ...]
    agreement: Agreement
    notes: tuple[str, ...]
    data: dict[str, Any]

    @property
    def confidence(self) -> str:
        return f"{100 * self.comparison.confidence:g} %"

    @property
    def prompt_categories(self) -> list[str]:
        """The categories that prompts have."""
        return sorted({one["category"] for one in self.data["conversations"] if one["category"]})

    @property
    def principle_ids(self) -> list[str]:
        """The principles that prompts were revised under."""
        return sorted({principle["id"] for principle in self.data["principles"]})


def page_of(
    comparison: Comparison, runs: Sequence[Run], texts: Sequence[RunTexts], recorded: Sequence[Run] = ()
) -> Page:
    """The page of a comparison.

    Args:
        comparison: The comparison.
        runs: Its runs with their scores.
        texts: What was said in each of them.
        recorded: Runs that repeat what was said in a round of a chain; they are in no table, but score its answers.
    """
    numbers = [comparison.runs.index(arm_of(run.name, comparison.fine_tunings)) for run in runs]
    revised = [(run, chains(said)) for run, said in zip(runs, texts, strict=True) if said.revisions]
    known = known_scores(texts, runs, comparison, recorded)
    baseline = next(run for run, n in zip(runs, numbers, strict=True) if comparison.runs[n] == comparison.baseline)
    return Page(
        comparison=comparison,
        verdict=verdict_sentence(comparison),
        warnings=tuple(warnings(comparison)),
        runs=tuple(_named(*each) for each in zip(runs, numbers, texts, strict=True)),
        cards=tuple(card(column, comparison) for column in comparison.columns),
        behaviours=tuple(card(column, comparison) for column in comparison.behaviours),
        standings=tuple(ranking(comparison)[1:]),
        win_rates=tuple(win_lines(comparison)),
        tradeoffs=tuple(tradeoffs(comparison)),
        distributions=tuple(distribution(column.name, runs, numbers) for column in comparison.columns),
        categories=tuple(by_category(comparison)),
        rounds=tuple(by_round(run.name, answers, known) for run, answers in revised),
        principles=tuple(by_principle(run, baseline, answers, _compared(run, comparison)) for run, answers in revised),
        agreement=agreement(comparison, runs),
        notes=tuple(notes(comparison)),
        data=viewer_data(texts, runs, comparison, baseline.name) | {"colors": numbers},
    )


def _compared(run: Run, comparison: Comparison) -> list[str]:
    """The columns in which a run compares."""
    return [column.name for column in comparison.columns if run.name in comparison.compared(column)]


def _named(run: Run, number: int, said: RunTexts) -> Named:
    """A run with its models and what its summary has counted."""
    models = sorted({response.model for response in said.responses.values() if response.model})
    counts = [f"{count} {name}" for name, count in run.summary.get("counts", {}).items() if count]
    return Named(run.name, number, ", ".join([*models, *counts]))
