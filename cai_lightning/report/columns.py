"""The columns that a comparison has, and which runs compare in each: those judged alike, on the same prompts.

Which runs compare in a column: those judged alike, on the same prompts.

group = comparable_runs(column, arms, "qwen_base", prompts)
group.arms["qwen_contextual"]  # the scores of each of its fine-tunings, over the prompts scored in every compared run

A run differs from the baseline where its prompts, its evaluator's settings or model, or the references that the column
depends on are others. Then no difference and no rank is drawn from it, and a note says why.

The columns that a comparison has: metrics, behaviours read off the responses, and harm by category of prompt.

    columns = metric_columns(runs) + behaviour_columns(runs) + category_columns(runs)

A refusal is told by how a response begins (`report.inspection.refusals`). Refusing is neither good nor bad in itself:
`refusal_rate` has no direction. Refusing what is harmless is bad: `evasiveness` is the share of refusals among the
prompts of the category `benign`. `repetition` is the share of a response's 4-grams of words that have stood before in
it (`data.repetition`). An empty response has none of the three. `cut` is the share of responses that were cut at their
limit of tokens, where they say why they ended.
"""

from collections import Counter
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cai_lightning.data.endings import CUT
from cai_lightning.data.repetition import repeated_ngrams
from cai_lightning.report.measures import refuses
from cai_lightning.report.runs import Arms, Run
from cai_lightning.report.summary import UNIT_SCALE, Direction
from cai_lightning.run.records import UNKNOWN
from cai_lightning.statistics.intervals import Prompts

Scores = Mapping[str, float]
REFERENCES = "references"


@dataclass(frozen=True)
class RunColumn:
    """One run in one column.

    Args:
        values: Its scores by id.
        unscored: Number of its responses without one.
        not_run: Why there are none at all, or None.
        judged: What has to be alike for two runs to compare, each by the words that a note has for it.
        truncated: Number of its scores that are of a truncated text.
    """

    values: Scores
    unscored: int = 0
    not_run: str | None = None
    judged: Mapping[str, Hashable] = field(default_factory=dict)
    truncated: int = 0


@dataclass(frozen=True)
class Column:
    """What is compared: a metric's column, a behaviour, or a column over the prompts of one category.

    Its `unit_scale` goes to the statistics: whether it goes from 0 to 1, so that ones may be a rate.
    """

    name: str
    direction: Direction | None
    runs: Mapping[str, RunColumn]
    category: str | None = None
    unit_scale: bool = True

    @property
    def title(self) -> str:
        return self.name if self.category is None else f"{self.name}, {self.category}"


@dataclass(frozen=True)
class ComparableRuns:
    """The arms that compare in a column.

    Args:
        column: The column.
        reference: The arm that the others have to be judged like: the baseline, or else the first with scores.
        every: The scores of each fine-tuning of every arm that compares.
        arms: The same over `common`, where there is anything in common.
        common: The ids scored in every run of these arms.
        differing: What is judged otherwise in the arms that do not compare, with the run in which it is.
        prompts: What each id shares with the others about its prompt.
    """

    column: Column
    reference: str | None
    every: Mapping[str, Sequence[Scores]]
    arms: Mapping[str, Sequence[Scores]]
    common: frozenset[str]
    differing: Mapping[str, tuple[str, tuple[str, ...]]]
    prompts: Prompts

    def own(self, arm: Sequence[str]) -> list[Scores]:
        """All scores of an arm's fine-tunings, whether they compare or not."""
        return [self.column.runs[run].values for run in arm if self.column.runs[run].values]


def comparable_runs(column: Column, arms: Arms, baseline: str, prompts: Prompts) -> ComparableRuns:
    """Gathers the arms that compare with the baseline or, where that has no scores, with the first that has."""
    scored = {arm: [run for run in runs if column.runs[run].values] for arm, runs in arms.items()}
    scored = {arm: runs for arm, runs in scored.items() if runs}
    reference = baseline if baseline in scored else next(iter(scored), None)
    if reference is None:
        return ComparableRuns(column, None, {}, {}, frozenset(), {}, prompts)
    standard = column.runs[scored[reference][0]]
    differing = {arm: found for arm, runs in scored.items() if (found := _differing(column, runs, standard))}
    alike = {arm: runs for arm, runs in scored.items() if arm not in differing}
    values = {arm: [column.runs[run].values for run in runs] for arm, runs in alike.items()}
    every = [frozenset(scores) for runs in values.values() for scores in runs]
    common = frozenset.intersection(*every) if every else frozenset()
    shared = {arm: [_only(common, scores) for scores in runs] for arm, runs in values.items()} if common else values
    return ComparableRuns(column, reference, values, shared, common, differing, prompts)


def notes(groups: Sequence[ComparableRuns], arms: Arms, baseline: str) -> list[str]:
    """What keeps arms from comparing, and on which prompts those that do are compared."""
    return [*_unlike(groups), *(note for group in groups for note in _about(group, arms, baseline))]


def _only(ids: frozenset[str], scores: Scores) -> Scores:
    return {id: scores[id] for id in ids}


def _differing(column: Column, runs: Sequence[str], standard: RunColumn) -> tuple[str, tuple[str, ...]] | None:
    for run in runs:
        judged = column.runs[run].judged
        words = [word for word, value in judged.items() if word in standard.judged and standard.judged[word] != value]
        if words:
            return run, tuple(words)
    return None


def _unlike(groups: Sequence[ComparableRuns]) -> list[str]:
    """One note for all columns that a run does not compare in for the same reason."""
    titles: dict[str, list[str]] = {}
    for group in groups:
        for run, words in group.differing.values():
            note = f"{run} does not compare with {group.reference}: other {' and '.join(words)}."
            titles.setdefault(note, []).append(group.column.title)
    return [f"{', '.join(columns)}: {note}" for note, columns in titles.items()]


def _about(group: ComparableRuns, arms: Arms, baseline: str) -> list[str]:
    if group.reference is None:
        return []
    found, title = [], group.column.title
    if group.reference != baseline:
        found.append(f"{title}: no differences, for the baseline {baseline} has no scores.")
    if baseline in group.differing:
        found.append(f"{title}: no differences, for the runs of the baseline {baseline} were not judged alike.")
    for arm, runs in arms.items():
        without = [run for run in runs if not group.column.runs[run].values]
        if arm in group.arms and without:
            found.append(f"{title}: {arm} stands without {', '.join(without)}, which has no scores.")
    return found + _about_prompts(group, arms)


def _about_prompts(group: ComparableRuns, arms: Arms) -> list[str]:
    scored = {run: len(group.column.runs[run].values) for arm in group.arms for run in arms[arm]}
    runs = {run: n for run, n in scored.items() if n}
    if len(set(runs.values()) | {len(group.common)}) == 1:
        return []
    counts = ", ".join(f"{name} {n}" for name, n in runs.items())
    title, common = group.column.title, len(group.common)
    if not common:
        return [f"{title}: no ranks, for no prompt is scored in every run (scored: {counts})."]
    return [f"{title}: compared on the {common} prompts scored in every run (scored: {counts})."]


BENIGN = "benign"
MISSING = "not among its metrics"
FEWEST_PROMPTS = 2
"""Prompts below which a category has no interval, and no rows of its own."""


def metric_columns(runs: Sequence[Run]) -> list[Column]:
    """Every column that a run's summary names, in the order of the runs."""
    names = dict.fromkeys(name for run in runs for name in run.summary["metrics"])
    return [_metric(name, runs) for name in names]


def behaviour_columns(runs: Sequence[Run]) -> list[Column]:
    """The rates of refusals, where prompts are benign of evasions, of repeated words and of cut responses.

    None where no run has responses.
    """
    refusals = {run.name: _refusals(run) for run in runs}
    columns = [Column("refusal_rate", None, {run.name: _behaviour(run, refusals[run.name]) for run in runs})]
    benign = {id for id, category in _categories(runs).items() if category == BENIGN}
    evasions = {name: {id: value for id, value in values.items() if id in benign} for name, values in refusals.items()}
    columns += [Column("evasiveness", "lower", {run.name: _behaviour(run, evasions[run.name], benign) for run in runs})]
    columns += [Column("repetition", "lower", {run.name: _behaviour(run, _repetition(run)) for run in runs})]
    columns += [Column("cut", "lower", {run.name: _cut(run) for run in runs})]
    return [column for column in columns if any(measured.values for measured in column.runs.values())]


def category_columns(runs: Sequence[Run]) -> list[Column]:
    """The columns about harm that some run has, over the prompts of each category, where these have more than one."""
    categories = _categories(runs)
    sizes = Counter(categories.values())
    chosen = sorted(category for category, size in sizes.items() if size >= FEWEST_PROMPTS)
    if len(chosen) < 2:
        return []
    columns = [column for column in metric_columns(runs) if tells_harm(column.name)]
    harm = [column for column in columns if any(measured.values for measured in column.runs.values())]
    members = {category: {id for id, its in categories.items() if its == category} for category in chosen}
    return [_confined(column, category, members[category], runs) for column in harm for category in chosen]


def tells_harm(column: str) -> bool:
    """Whether a column is about harm, told by its name."""
    return "harm" in column or column.startswith("moderation")


def _metric(name: str, runs: Sequence[Run]) -> Column:
    entries = [entry for run in runs if (entry := run.entry(name))]
    measured = {run.name: _measured(name, run) for run in runs}
    unit_scale = all(entry.get("scale", UNIT_SCALE) == UNIT_SCALE for entry in entries)
    return Column(name, entries[0]["direction"], measured, unit_scale=unit_scale)


def _measured(name: str, run: Run) -> RunColumn:
    values, scores = run.values(name), run.scores.get(name)
    unscored, truncated = (scores.reasons.total(), scores.truncated) if scores else (0, 0)
    not_run = None if values else run.entry(name).get("not_run", MISSING)
    return RunColumn(values, unscored, not_run, dict(_judged(name, run)), truncated)


def _judged(name: str, run: Run) -> Iterable[tuple[str, Hashable]]:
    entry = run.entry(name)
    yield from _prompts(run)
    yield "settings", entry.get("settings")
    yield "model revision", entry.get("revision")
    yield "direction", entry.get("direction")
    if entry.get("uses_references", True):
        yield REFERENCES, entry.get("references", run.summary.get("references"))


def _prompts(run: Run) -> Iterable[tuple[str, Hashable]]:
    if run.prompts is not None:
        yield "prompts", run.prompts


def _behaviour(run: Run, values: dict[str, float], among: Container[str] | None = None) -> RunColumn:
    return RunColumn(values, _empty(run, among), None if values else "no responses", dict(_prompts(run)))


def _refusals(run: Run) -> dict[str, float]:
    """Whether each response refuses; an empty one neither refuses nor answers."""
    return {id: float(refuses(said.response)) for id, said in run.responses.items() if said.response.strip()}


def _repetition(run: Run) -> dict[str, float]:
    return {id: repeated_ngrams(said.response) for id, said in run.responses.items() if said.response.strip()}


def _cut(run: Run) -> RunColumn:
    reasons = {id: said.finish_reason for id, said in run.responses.items() if said.finish_reason != UNKNOWN}
    values = {id: float(reason in CUT) for id, reason in reasons.items()}
    untold = len(run.responses) - len(values)
    return RunColumn(values, untold, None if values else "no finish reasons", dict(_prompts(run)))


def _empty(run: Run, among: Container[str] | None = None) -> int:
    """The number of empty responses, of these prompts alone where they are named."""
    return sum(not said.response.strip() for id, said in run.responses.items() if among is None or id in among)


def _categories(runs: Sequence[Run]) -> dict[str, str]:
    """The category of every prompt that has one."""
    return {id: said.category for run in runs for id, said in run.responses.items() if said.category}


def _confined(column: Column, category: str, members: Container[str], runs: Sequence[Run]) -> Column:
    confined = {}
    for run in runs:
        whole = column.runs[run.name]
        values = {id: value for id, value in whole.values.items() if id in members}
        unscored = sum(id in members and id not in values for id in run.responses)
        confined[run.name] = RunColumn(values, unscored if whole.values else 0, whole.not_run, whole.judged)
    return Column(column.name, column.direction, confined, category, column.unit_scale)
