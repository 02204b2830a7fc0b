"""A comparison as one HTML page that needs nothing else: no server, no network, no other file.

    files.replace_text(output / "index.html", render_page(comparison, runs, revisions))

What models wrote goes into the page as JSON in which no character can end a script; the viewer inserts it as text. The
page's policy lets the browser run and style by these very files alone, known by their digests, and load nothing.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from cai_lightning.report.breakdowns import agreement, by_principle, by_round, chains, known_scores
from cai_lightning.report.colors import run_color, stylesheet
from cai_lightning.report.comparison import ColumnComparison, Comparison
from cai_lightning.report.corpora import Revisions
from cai_lightning.report.drawing import Panel, inline
from cai_lightning.report.plots import (
    category_panel,
    difference_panel,
    distribution_panel,
    mean_panel,
    tradeoff_panels,
    win_rate_panel,
)
from cai_lightning.report.runs import Run
from cai_lightning.report.table import Field, Table
from cai_lightning.report.viewer import viewer_data
from cai_lightning.report.words import (
    by_metric,
    category_table,
    column_table,
    counts,
    notes,
    ranking_table,
    win_rate_table,
)
from cai_lightning.run.text import printable, printable_lines

TEMPLATES = Path(__file__).parent / "html"
STYLES = ("page.css", "plots.css", "viewer.css")
SCRIPTS = ("texts.js", "query.js", "conversation.js", "viewer.js")


@dataclass(frozen=True)
class Card:
    """What stands together on the page: a plot, its numbers, or both."""

    plot: Panel | None = None
    table: Table | None = None


def render_page(
    comparison: Comparison, runs: Sequence[Run], revisions: Sequence[Revisions], recorded: Sequence[Run] = ()
) -> str:
    """The page of a comparison; everything in it that is not ours is escaped.

    Args:
        comparison: The comparison.
        runs: Its runs with their scores.
        revisions: What each of them has revised, by the prompt's id.
        recorded: Runs that repeat what was said in a round of a chain; they are in no table, but score its answers.
    """
    numbers = [comparison.number(run.name) for run in runs]
    baseline = next(run for run, n in zip(runs, numbers, strict=True) if comparison.runs[n] == comparison.baseline)
    data = viewer_data(runs, revisions, comparison, baseline.name) | {"colors": list(map(run_color, numbers))}
    style, script = stylesheet() + _joined(STYLES), f'"use strict";\n(() => {{\n{_joined(SCRIPTS)}}})();\n'
    template = environment().get_template("index.html")
    return template.render(
        comparison=comparison,
        confidence=f"{100 * comparison.confidence:g} %",
        verdict=verdict_sentence(comparison),
        notes=notes(comparison),
        runs=[_described(*each) for each in zip(runs, numbers, strict=True)],
        cards=_cards(comparison, runs, numbers) | _revision_cards(comparison, runs, revisions, recorded, baseline),
        categories=sorted({one["category"] for one in data["conversations"] if one["category"]}),
        principles=sorted({principle["id"] for principle in data["principles"]}),
        data=page_data(data),
        style=Markup(style),
        script=Markup(script),
    )


def _cards(comparison: Comparison, runs: Sequence[Run], numbers: Sequence[int]) -> dict[str, list[Card]]:
    """The cards of the sections that every comparison may have."""
    metrics, behaviours = comparison.columns, comparison.behaviours
    ranked = len(comparison.runs) > 1 and comparison.ranking
    spreads = [distribution_panel(column, runs, numbers) for column in metrics]
    return {
        "metrics": [_column(column, comparison) for column in metrics],
        "ranking": [Card(table=ranking_table(comparison))] if ranked else [],
        "behaviours": [_column(column, comparison) for column in behaviours],
        "win-rates": [Card(win_rate_panel(comparison), win_rate_table(comparison))] if comparison.win_rates else [],
        "tradeoffs": [Card(panel) for panel in tradeoff_panels(comparison)],
        "distributions": [Card(panel) for panel in spreads if panel],
        "categories": [
            Card(category_panel(columns, comparison), category_table(name, columns, comparison))
            for name, columns in by_metric(comparison).items()
        ],
        "agreement": [Card(table=agreement(comparison, runs))],
    }


def _column(column: ColumnComparison, comparison: Comparison) -> Card:
    """Differences where there are some, else means."""
    plot = difference_panel(column, comparison) or mean_panel(column, comparison)
    table = column_table(column, comparison)
    return Card(plot, replace(table, notes=[*table.notes, *map(Field, counts(column))]))


def _revision_cards(
    comparison: Comparison, runs: Sequence[Run], revisions: Sequence[Revisions], recorded: Sequence[Run], baseline: Run
) -> dict[str, list[Card]]:
    """The cards about critique and revision, of the runs that have some."""
    revised = [(run, chains(rows)) for run, rows in zip(runs, revisions, strict=True) if rows]
    known = known_scores(runs, comparison, recorded)
    principles = []
    for run, answers in revised:
        compared = [column.name for column in comparison.columns if run.name in comparison.compared(column)]
        principles.append(Card(table=by_principle(run, baseline, answers, compared)))
    rounds = [Card(table=by_round(run.name, answers, known)) for run, answers in revised]
    return {"rounds": rounds, "principles": principles}


def _described(run: Run, number: int) -> dict[str, Any]:
    """A run with the number of its color, its models and what its summary has counted."""
    models = sorted({response.model for response in run.responses.values() if response.model})
    counts = [f"{count} {name}" for name, count in run.summary.get("counts", {}).items() if count]
    return {"name": run.name, "number": number, "color": run_color(number), "remark": ", ".join([*models, *counts])}


MOST_NAMES = 4


def verdict_sentence(comparison: Comparison) -> str:
    """Which run comes first, and where it surely differs from the baseline."""
    if len(comparison.runs) < 2:
        return f"There is one run, {comparison.baseline}, and nothing to compare it with."
    if not comparison.ranking:
        return "There is no overall ranking, because no metric ranks every run."
    leaders = [standing for standing in comparison.ranking if standing.place == 1]
    if len(leaders) > 1:
        return f"{_listed([standing.run for standing in leaders])} share the first place by mean rank."
    leader = leaders[0]
    sure = f"and in {100 * leader.first:.0f}\N{NO-BREAK SPACE}% of the bootstrap resamples"
    return f"{leader.run} comes first by mean rank, {sure}{_against_the_baseline(comparison, leader.run)}."


def _against_the_baseline(comparison: Comparison, run: str) -> str:
    baseline = comparison.baseline
    if run == baseline:
        return "; it is the baseline that the others are measured against"
    cells = [(column, cell) for column in comparison.columns for cell in column.cells if cell.run == run]
    verdicts = {column.name: cell.verdict(column.direction) for column, cell in cells}
    phrases = {"better": f"better than {baseline}", "worse": f"worse than {baseline}"}
    phrases["unclear"] = "not distinguishable from it"
    names = {kind: [name for name, verdict in verdicts.items() if verdict == kind] for kind in phrases}
    parts = [f"{phrase} in {_listed(names[kind])}" for kind, phrase in phrases.items() if names[kind]]
    return f": {', '.join(parts)}" if parts else ""


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        return f"{len(names)} metrics"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def page_data(data: dict[str, Any]) -> Markup:
    """The data as JSON in ASCII without `<`, `>` and `&`: whatever its texts are, they cannot end the script."""
    return htmlsafe_json_dumps(data, allow_nan=False, separators=(",", ":"))


def environment() -> Environment:
    """The templates; whatever they are given is escaped, and what a browser would obey is printable."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else printable_lines(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["inline"] = inline
    environment.filters |= {"line": printable, "digest": _digest}
    return environment


def _joined(names: tuple[str, ...]) -> str:
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
