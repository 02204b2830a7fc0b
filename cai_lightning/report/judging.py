"""Which runs compare in a column: those judged alike, on the same prompts.

group = group_of(column, arms, "qwen_base", prompts)
group.arms["qwen_contextual"]  # the scores of each of its fine-tunings, over the prompts scored in every compared run

A run differs from the baseline where its prompts, its evaluator's settings or model, or the references that the column
depends on are others. Then no difference and no rank is drawn from it, and a note says why.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from cai_lightning.report.arms import Arms
from cai_lightning.report.summary import Direction
from cai_lightning.statistics.clusters import Prompts

Scores = Mapping[str, float]
REFERENCES = "references"


@dataclass(frozen=True)
class Measured:
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
    runs: Mapping[str, Measured]
    category: str | None = None
    unit_scale: bool = True

    @property
    def title(self) -> str:
        return self.name if self.category is None else f"{self.name}, {self.category}"


@dataclass(frozen=True)
class Group:
    """The arms that compare in a column.

    Args:
        column: The column.
        anchor: The arm that the others have to be judged like: the baseline, or else the first with scores.
        every: The scores of each fine-tuning of every arm that compares.
        arms: The same over `common`, where there is anything in common.
        common: The ids scored in every run of these arms.
        differing: What is judged otherwise in the arms that do not compare, with the run in which it is.
        prompts: What each id shares with the others about its prompt.
    """

    column: Column
    anchor: str | None
    every: Mapping[str, Sequence[Scores]]
    arms: Mapping[str, Sequence[Scores]]
    common: frozenset[str]
    differing: Mapping[str, tuple[str, tuple[str, ...]]]
    prompts: Prompts

    def own(self, arm: Sequence[str]) -> list[Scores]:
        """All scores of an arm's fine-tunings, whether they compare or not."""
        return [self.column.runs[run].values for run in arm if self.column.runs[run].values]


def group_of(column: Column, arms: Arms, baseline: str, prompts: Prompts) -> Group:
    """Gathers the arms that compare with the baseline or, where that has no scores, with the first that has."""
    scored = {arm: [run for run in runs if column.runs[run].values] for arm, runs in arms.items()}
    scored = {arm: runs for arm, runs in scored.items() if runs}
    anchor = baseline if baseline in scored else next(iter(scored), None)
    if anchor is None:
        return Group(column, None, {}, {}, frozenset(), {}, prompts)
    standard = column.runs[scored[anchor][0]]
    differing = {arm: found for arm, runs in scored.items() if (found := _differing(column, runs, standard))}
    alike = {arm: runs for arm, runs in scored.items() if arm not in differing}
    values = {arm: [column.runs[run].values for run in runs] for arm, runs in alike.items()}
    every = [frozenset(scores) for runs in values.values() for scores in runs]
    common = frozenset.intersection(*every) if every else frozenset()
    shared = {arm: [_only(common, scores) for scores in runs] for arm, runs in values.items()} if common else values
    return Group(column, anchor, values, shared, common, differing, prompts)


def notes(groups: Sequence[Group], arms: Arms, baseline: str) -> list[str]:
    """What keeps arms from comparing, and on which prompts those that do are compared."""
    return [*_unlike(groups), *(note for group in groups for note in _about(group, arms, baseline))]


def _only(ids: frozenset[str], scores: Scores) -> Scores:
    return {id: scores[id] for id in ids}


def _differing(column: Column, runs: Sequence[str], standard: Measured) -> tuple[str, tuple[str, ...]] | None:
    for run in runs:
        judged = column.runs[run].judged
        words = [word for word, value in judged.items() if word in standard.judged and standard.judged[word] != value]
        if words:
            return run, tuple(words)
    return None


def _unlike(groups: Sequence[Group]) -> list[str]:
    """One note for all columns that a run does not compare in for the same reason."""
    titles: dict[str, list[str]] = {}
    for group in groups:
        for run, words in group.differing.values():
            note = f"{run} does not compare with {group.anchor}: other {' and '.join(words)}."
            titles.setdefault(note, []).append(group.column.title)
    return [f"{', '.join(columns)}: {note}" for note, columns in titles.items()]


def _about(group: Group, arms: Arms, baseline: str) -> list[str]:
    if group.anchor is None:
        return []
    found, title = [], group.column.title
    if group.anchor != baseline:
        found.append(f"{title}: no differences, for the baseline {baseline} has no scores.")
    if baseline in group.differing:
        found.append(f"{title}: no differences, for the runs of the baseline {baseline} were not judged alike.")
    for arm, runs in arms.items():
        without = [run for run in runs if not group.column.runs[run].values]
        if arm in group.arms and without:
            found.append(f"{title}: {arm} stands without {', '.join(without)}, which has no scores.")
    return found + _about_prompts(group, arms)


def _about_prompts(group: Group, arms: Arms) -> list[str]:
    scored = {run: len(group.column.runs[run].values) for arm in group.arms for run in arms[arm]}
    runs = {run: n for run, n in scored.items() if n}
    if len(set(runs.values()) | {len(group.common)}) == 1:
        return []
    counts = ", ".join(f"{name} {n}" for name, n in runs.items())
    title, common = group.column.title, len(group.common)
    if not common:
        return [f"{title}: no ranks, for no prompt is scored in every run (scored: {counts})."]
    return [f"{title}: compared on the {common} prompts scored in every run (scored: {counts})."]
