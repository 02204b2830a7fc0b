"""The columns that a comparison has, and which runs compare in each: those judged alike, on the same prompts.

    columns = metric_columns(runs) + behaviour_columns(runs) + category_columns(runs)
    group = comparable_runs(columns[0], arms, "qwen_base", prompts)
    group.arms["qwen_contextual"]  # the scores of each fine-tuning, over the prompts scored in every compared run

A run differs from the baseline where its prompts, its evaluator's settings or model, or the references that the column
depends on are others. Then no difference and no rank is drawn from it, and a note says why.

Beside metrics, columns are behaviours read off the responses, and harm by category of prompt. A refusal is told by how
a response begins (`data.defects.refuses`). Refusing is neither good nor bad in itself: `refusal_rate` has no
direction. Refusing what is harmless is bad: `evasiveness` is the share of refusals among the prompts of the category
`benign`. `repetition` is the share of a response's 4-grams of words that have stood before in it (`data.defects`).
An empty response has none of the three. `cut` is the share of responses that were cut at their limit of tokens, where
they say why they ended. `boilerplate` is the share of those that say what their run says too often, held against the
baseline (`data.defects`); in the baseline itself it is 0 by definition.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cai_lightning.data.defects import CUT, Phrase, refuses, repeated_ngrams, said_too_often, says_any, worst
from cai_lightning.report.evidence import passed_guards
from cai_lightning.report.runs import Arms, Run
from cai_lightning.report.summary import UNIT_SCALE, ColumnScores
from cai_lightning.report.table import part, per_cent
from cai_lightning.run.records import UNKNOWN, Response, shared_id
from cai_lightning.statistics import Direction
from cai_lightning.statistics.intervals import Prompts

T = TypeVar("T")
Scores = Mapping[str, float]
Tell = Callable[[Response], float | None]
REFERENCES = "references"
SOURCE = "file of scores"
SIDE_BY_SIDE = {REFERENCES, SOURCE}
"""What may be other in runs whose means still stand beside each other, each with its interval."""
BENIGN = "benign"
MISSING = "not among its metrics"
FEWEST_PROMPTS = 2
"""Prompts below which a category has no interval, and no rows of its own."""
MOST_PHRASES = 3
"""Phrases of boilerplate that a note names."""
APART = 0.05
"""Shares of prompts without an answer that are so far apart are worth a warning, however few prompts there are."""


@dataclass(frozen=True)
class RunColumn:
    """One run in one column.

    Args:
        values: Its scores by id.
        unscored: Number of its responses without one.
        not_run: Why there are none at all, or None.
        judged: What has to be alike for two runs to compare, each by the words that a note has for it.
        truncated: Number of its scores that are of a truncated text.
        note: What is to be said of its scores.
    """

    values: Scores
    unscored: int = 0
    not_run: str | None = None
    judged: Mapping[str, Hashable] = field(default_factory=dict)
    truncated: int = 0
    note: str | None = None


@dataclass(frozen=True)
class ComparedColumn:
    """What is compared: a metric's column, a behaviour, or a column over the prompts of one category.

    Its `unit_scale` goes to the statistics: whether it goes from 0 to 1, so that ones may be a rate.
    """

    name: str
    direction: Direction | None
    runs: Mapping[str, RunColumn]
    category: str | None = None
    unit_scale: bool = True

    @property
    def has_scores(self) -> bool:
        return any(run.values for run in self.runs.values())

    @property
    def title(self) -> str:
        return self.name if self.category is None else f"{self.name}, {self.category}"


def metric_columns(runs: Sequence[Run]) -> list[ComparedColumn]:
    """Every column that a run's summary names, in the order of the runs."""
    names = dict.fromkeys(name for run in runs for name in run.summary["metrics"])
    return [_metric(name, runs) for name in names]


def behaviour_columns(runs: Sequence[Run], boilerplate: Mapping[str, Sequence[Phrase]]) -> list[ComparedColumn]:
    """The rates of refusals, where prompts are benign of evasions, of repeated words, cut responses and boilerplate.

    None where no run has responses.

    Args:
        runs: The runs.
        boilerplate: What each of them says too often, see `boilerplate_of`; none where there is no baseline for it.
    """
    benign = _members(runs).get(BENIGN, set())
    asked_benign = [_asked(run, benign) for run in runs]
    columns = [
        _behaviour("refusal_rate", None, runs, _refusal),
        _behaviour("evasiveness", "lower", asked_benign, _refusal),
        _behaviour("repetition", "lower", runs, _repetition),
        _behaviour("cut", "lower", runs, _cut),
        *([_boilerplate(runs, boilerplate)] if boilerplate else []),
    ]
    return [column for column in columns if column.has_scores]


def boilerplate_of(runs: Sequence[Run], baseline: Container[str]) -> dict[str, list[Phrase]]:
    """What each run with responses says too often, by its name; none where the baseline has none, or stands alone.

    Args:
        runs: The runs.
        baseline: Names of those that the others are held against.
    """
    reference = [said.response for run in runs if run.name in baseline for said in run.responses.values()]
    others = [run for run in runs if run.name not in baseline and run.responses]
    if not any(map(str.strip, reference)) or not others:
        return {}
    return {run.name: [] if run not in others else _too_often(run, reference) for run in runs if run.responses}


def boilerplate_notes(boilerplate: Mapping[str, Sequence[Phrase]], baseline: str) -> Iterator[str]:
    """The phrases that each run says too often, the worst of them in words."""
    for run, found in boilerplate.items():
        if found:
            named = worst(found, MOST_PHRASES)
            told = ", ".join(f'"{one.text}" in {per_cent(one.share)} ({per_cent(one.before)})' for one in named)
            yield f"boilerplate: {run} says too often, in brackets {baseline}: {told}; {len(found)} 4-grams in all."


def category_columns(runs: Sequence[Run]) -> list[ComparedColumn]:
    """The columns about harm that some run has, over the prompts of each category, where these have more than one."""
    chosen = {category: ids for category, ids in sorted(_members(runs).items()) if len(ids) >= FEWEST_PROMPTS}
    if len(chosen) < 2:
        return []
    asked = {category: [_asked(run, ids) for run in runs] for category, ids in chosen.items()}
    harm = [column.name for column in metric_columns(runs) if tells_harm(column.name) and column.has_scores]
    return [replace(_metric(name, asked[category]), category=category) for name in harm for category in chosen]


def tells_harm(column: str) -> bool:
    """Whether a column is about harm, told by its name."""
    return "harm" in column or column.startswith("moderation")


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

    column: ComparedColumn
    reference: str | None
    every: Mapping[str, Sequence[Scores]]
    arms: Mapping[str, Sequence[Scores]]
    common: frozenset[str]
    differing: Mapping[str, tuple[str, tuple[str, ...]]]
    prompts: Prompts


def comparable_runs(column: ComparedColumn, arms: Arms, baseline: str, prompts: Prompts) -> ComparableRuns:
    """Gathers the arms that compare with the baseline or, where that has no scores, with the first that has."""
    scored = {arm: [run for run in runs if column.runs[run].values] for arm, runs in arms.items()}
    scored = {arm: runs for arm, runs in scored.items() if runs}
    reference = baseline if baseline in scored else next(iter(scored), None)
    standard = column.runs[scored[reference][0]].judged if reference else {}
    differing = {arm: found for arm, runs in scored.items() if (found := _differing(column, runs, standard))}
    alike = {arm: runs for arm, runs in scored.items() if arm not in differing}
    values = {arm: [column.runs[run].values for run in runs] for arm, runs in alike.items()}
    every = [frozenset(scores) for runs in values.values() for scores in runs]
    common = frozenset.intersection(*every) if every else frozenset()
    shared = {arm: [_only(common, scores) for scores in runs] for arm, runs in values.items()} if common else values
    return ComparableRuns(column, reference, values, shared, common, differing, prompts)


def notes(groups: Sequence[ComparableRuns], arms: Arms, baseline: str) -> list[str]:
    """What keeps arms from comparing, and on which prompts those that do are compared."""
    said = {f"{group.column.title}: {run.note}." for group in groups for run in group.column.runs.values() if run.note}
    return [*_unlike(groups), *sorted(said), *(note for group in groups for note in _about(group, arms, baseline))]


def _only(ids: Container[str], known: Mapping[str, T]) -> dict[str, T]:
    return {id: value for id, value in known.items() if id in ids}


def _differing(
    column: ComparedColumn, runs: Sequence[str], standard: Mapping[str, Hashable]
) -> tuple[str, tuple[str, ...]] | None:
    for run in runs:
        judged = column.runs[run].judged
        if words := tuple(word for word in judged if word in standard and standard[word] != judged[word]):
            return run, words
    return None


def _unlike(groups: Sequence[ComparableRuns]) -> list[str]:
    """One note for all columns that a run does not compare in for the same reason."""
    titles: dict[str, list[str]] = {}
    for group in groups:
        for run, words in group.differing.values():
            note = f"{run} does not compare with {group.reference}: other {' and '.join(words)}."
            titles.setdefault(note, []).append(group.column.title)
    return [f"{', '.join(columns)}: {note}" for note, columns in titles.items()]


def _about(group: ComparableRuns, arms: Arms, baseline: str) -> Iterator[str]:
    title, runs = group.column.title, group.column.runs
    if group.reference not in (None, baseline):
        yield f"{title}: no differences, for the baseline {baseline} has no scores."
    if baseline in group.differing:
        yield f"{title}: no differences, for the runs of the baseline {baseline} were not judged alike."
    for arm in group.arms:
        if without := [run for run in arms[arm] if not runs[run].values]:
            yield f"{title}: {arm} stands without {', '.join(without)}, which has no scores."
    scored = {run: n for arm in group.arms for run in arms[arm] if (n := len(runs[run].values))}
    common, counts = len(group.common), ", ".join(f"{run} {n}" for run, n in scored.items())
    if scored and not common:
        yield f"{title}: no ranks, for no prompt is scored in every run (scored: {counts})."
    elif set(scored.values()) - {common}:
        yield f"{title}: compared on the {common} prompts scored in every run (scored: {counts})."


def _metric(name: str, runs: Sequence[Run]) -> ComparedColumn:
    entries = [entry for run in runs if (entry := run.entry(name))]
    scored = {run.name: _scored(name, run) for run in runs}
    unit_scale = all(entry.get("scale", UNIT_SCALE) == UNIT_SCALE for entry in entries)
    return ComparedColumn(name, entries[0]["direction"], scored, unit_scale=unit_scale)


def _scored(name: str, run: Run) -> RunColumn:
    scores, entry = run.scores.get(name, ColumnScores()), run.entry(name)
    keys = {"settings": "settings", "model revision": "revision", "direction": "direction"}
    judged = _prompts(run) | {word: entry.get(key) for word, key in keys.items()}
    if entry.get("uses_references", True):
        judged[REFERENCES] = entry.get("references", run.summary.get("references"))
    judged[SOURCE] = entry.get("source")
    not_run = None if scores.values else entry.get("not_run", MISSING)
    return RunColumn(scores.values, len(scores.unscored), not_run, judged, scores.truncated, entry.get("note"))


def _prompts(run: Run) -> dict[str, Hashable]:
    return {} if run.prompts is None else {"prompts": run.prompts}


def _behaviour(name: str, direction: Direction | None, runs: Sequence[Run], tell: Tell) -> ComparedColumn:
    """A column read off each response by itself."""
    lacking, columns = "no finish reasons" if tell is _cut else "no responses", {}
    for run in runs:
        told = {id: tell(said) for id, said in run.responses.items()}
        values = {id: value for id, value in told.items() if value is not None}
        columns[run.name] = RunColumn(values, len(told) - len(values), None if values else lacking, _prompts(run))
    return ComparedColumn(name, direction, columns)


def _refusal(said: Response) -> float | None:
    return float(refuses(said.response)) if said.response.strip() else None


def _repetition(said: Response) -> float | None:
    return repeated_ngrams(said.response) if said.response.strip() else None


def _cut(said: Response) -> float | None:
    return None if said.finish_reason == UNKNOWN else float(said.finish_reason in CUT)


def _too_often(run: Run, reference: Sequence[str]) -> list[Phrase]:
    said = run.responses.values()
    return said_too_often([one.response for one in said], [shared_id(one) for one in said], reference)


def _boilerplate(runs: Sequence[Run], found: Mapping[str, Sequence[Phrase]]) -> ComparedColumn:
    def tell(run: Run) -> Tell:
        texts = {phrase.text for phrase in found.get(run.name, ())}
        return lambda said: float(says_any(said.response, texts)) if said.response.strip() else None

    columns = (_behaviour("boilerplate", "lower", [run], tell(run)) for run in runs)
    return ComparedColumn(
        "boilerplate", "lower", {name: one for column in columns for name, one in column.runs.items()}
    )


def _members(runs: Sequence[Run]) -> dict[str, set[str]]:
    """The ids of the prompts of each category."""
    categories = {id: said.category for run in runs for id, said in run.responses.items() if said.category}
    members = defaultdict[str, set[str]](set)
    for id, category in categories.items():
        members[category].add(id)
    return members


def _asked(run: Run, ids: Container[str]) -> Run:
    """The run as if these prompts alone had been asked."""
    scores = {
        name: ColumnScores(_only(ids, column.values), _only(ids, column.unscored), _only(ids, column.details))
        for name, column in run.scores.items()
    }
    return replace(run, scores=scores, responses=_only(ids, run.responses))


def notes_on_runs(runs: Sequence[Run], arms: Arms) -> Iterator[str]:
    """What is not known of runs beside arms of several seeds, and which runs are no end of their training."""
    alone = [arm for arm, names in arms.items() if len(names) == 1]
    if 0 < len(alone) < len(arms):
        yield f"{', '.join(alone)}: one run each; how much another seed would change them is in no interval."
    for run in runs:
        if why := run.summary.get("unfinished"):
            yield f"{run.name} is no end of its training: {why}."
        if passed := passed_guards(run.path):
            yield f"{run.name} has passed guards in its training: {'; '.join(passed)}."


def silence_warnings(runs: Sequence[Run], arms: Arms) -> list[str]:
    """A warning where arms are `APART` in the share of prompts without an answer.

    What says nothing is in no mean, so that a model which has collapsed looks as good as the answers it still gives. A
    prompt is without an answer where the response has no words, or where there is none.
    """
    by_name = {run.name: run for run in runs}
    counts = {arm: _count_silent([by_name[name] for name in names]) for arm, names in arms.items()}
    shares = [silent / asked for silent, asked in counts.values() if asked]
    if not shares or max(shares) - min(shares) < APART:
        return []
    told = ", ".join(f"{arm} {part(*count)}" for arm, count in counts.items() if count[1])
    return [
        f"prompts without an answer: {told}. They are in no mean, which flatters who says less (warned of where runs "
        f"are {100 * APART:g} points apart)."
    ]


def _count_silent(runs: Sequence[Run]) -> tuple[int, int]:
    """How many prompts were not answered in words, and how many were asked; none where no response is recorded."""
    asked = silent = 0
    for run in runs:
        prompts = run.responses.keys() if run.prompts is None or not run.responses else run.prompts
        asked += len(prompts)
        silent += sum(id not in run.responses or run.responses[id].why_silent is not None for id in prompts)
    return silent, asked
