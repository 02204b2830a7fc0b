"""A comparison as one HTML page that needs nothing else: no server, no network, no other file.

Everything that the page shows, worked out from a comparison and the texts of its runs. Pure functions.

page = page_of(comparison, runs, texts)

Writes a comparison as one HTML page that needs nothing else: no server, no network, no other file.

journal.replace_text(output / "index.html", render(page_of(comparison, runs, texts)))

What models wrote goes into the page as JSON in which no character can end a script; the viewer inserts it as text. The
page's policy lets the browser run and style by these very files alone, known by their digests, and load nothing.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from cai_lightning.report.comparison import Comparison
from cai_lightning.report.corpora import RunTexts
from cai_lightning.report.page.cards import Card, WinLine, card, verdict_sentence, win_lines
from cai_lightning.report.page.plots import (
    Agreement,
    BarTable,
    Distribution,
    Tradeoff,
    agreement,
    by_category,
    distribution,
    tradeoffs,
)
from cai_lightning.report.page.rounds import by_principle, by_round
from cai_lightning.report.page.viewer import chains, known_scores, viewer_data
from cai_lightning.report.runs import Run, arm_of
from cai_lightning.report.table import Table
from cai_lightning.report.words import notes, ranking_table, warnings
from cai_lightning.run.text import printable_lines


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
        ranking: The overall ranking; None where there is none.
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
    ranking: Table | None
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
        ranking=ranking_table(comparison) if comparison.ranking else None,
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


TEMPLATES = Path(__file__).parents[1] / "html"
STYLES = ("page.css", "plots.css", "viewer.css")
SCRIPTS = ("texts.js", "query.js", "conversation.js", "viewer.js")


def render(page: Page) -> str:
    """The page as HTML; everything in it that is not ours is escaped."""
    style, script = _joined(STYLES), f'"use strict";\n(() => {{\n{_joined(SCRIPTS)}}})();\n'
    return (
        _environment()
        .get_template("index.html")
        .render(
            page=page,
            policy=_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            data=page_data(page.data),
        )
    )


def page_data(data: dict[str, Any]) -> Markup:
    """The data as JSON in ASCII without `<`, `>` and `&`: whatever its texts are, they cannot end the script."""
    return htmlsafe_json_dumps(data, allow_nan=False, separators=(",", ":"))


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=lambda value: printable_lines(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _joined(names: tuple[str, ...]) -> str:
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
