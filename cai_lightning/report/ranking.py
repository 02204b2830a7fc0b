"""Ranks of runs in one column and over all of them, and how stable they are.

How stable ranks are: the ranks that runs would have had with other draws of prompts and fine-tunings.

    ranks = resampled_ranks({"harmlessness": ("higher", {"base": [scores], "tuned": [seed_1, seed_2]})})
    shares_first(ranks["harmlessness"])

In one resample the same prompts are drawn in all columns and runs, so that what goes together stays together. Of k
fine-tunings k - 1 are drawn: drawing k from so few would understate how much their mean varies, by the factor (k-1)/k.

Ranks of runs in one column, and the overall ranking over all of them.

>>> column_ranks({"base": 0.2, "random": 0.5, "contextual": 0.5}, "higher")
{'base': 3.0, 'random': 1.5, 'contextual': 1.5}
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cai_lightning.report.summary import Direction
from cai_lightning.statistics.intervals import LARGEST_DRAW, NO_PROMPTS, Array, Prompts, by_prompt, draws

RESAMPLES = 2_000
_DIGITS = 12
"""Means that differ by less differ by rounding, and tie."""

Scores = Mapping[str, float]
Arms = Mapping[str, Sequence[Scores]]


def resampled_ranks(
    columns: Mapping[str, tuple[Direction, Arms]], seed: int = 0, prompts: Prompts = NO_PROMPTS
) -> dict[str, Array]:
    """The ranks of the arms in each column, one row for each resample; 1 is best, ties share the mean of their places.

    Args:
        columns: Per column its direction, and of each arm the scores of its fine-tunings, all over the same ids.
        seed: Seed of the resampling.
        prompts: What each id shares with the others about its prompt.
    """
    places = _places(columns, prompts)
    rng = np.random.default_rng(seed)
    gathered = {
        (name, arm): _gathered(fine_tunings, prompts, places)
        for name, (_, arms) in columns.items()
        for arm, fine_tunings in arms.items()
    }
    means: dict[tuple[str, str], list[Array]] = {key: [] for key in gathered}
    for times in _drawn(rng, len(places)):
        for key, (sums, counts) in gathered.items():
            means[key].append(_means(sums, counts, times))
    weights = dict(_weights(columns, rng))
    ranks = {}
    for name, (direction, arms) in columns.items():
        weighted = [
            (np.concatenate(means[name, arm]) * weights[arm, len(fine_tunings)]).sum(axis=1)
            for arm, fine_tunings in arms.items()
        ]
        ranks[name] = _ranked(np.stack(weighted, axis=1), direction)
    return ranks


def shares_first(ranks: Array) -> list[float]:
    """The share of resamples in which each arm is first; arms that tie there share the resample."""
    first = ranks <= ranks.min(axis=1, keepdims=True) + 10.0**-_DIGITS
    shares: list[float] = (first / first.sum(axis=1, keepdims=True)).mean(axis=0).tolist()
    return shares


def place_intervals(ranks: Array, confidence: float) -> list[tuple[int, int]]:
    """The best and the worst place of each arm, but for the rarest at both ends."""
    places = 1 + (ranks[:, None, :] < ranks[:, :, None] - 10.0**-_DIGITS).sum(axis=2)
    low = np.quantile(places, (1 - confidence) / 2, axis=0, method="nearest")
    high = np.quantile(places, (1 + confidence) / 2, axis=0, method="nearest")
    return [(int(best), int(worst)) for best, worst in zip(low, high, strict=True)]


def _places(columns: Mapping[str, tuple[Direction, Arms]], prompts: Prompts) -> dict[str, int]:
    """The prompts of all columns, each with its place among what is drawn."""
    arms = (fine_tunings for _, arms in columns.values() for fine_tunings in arms.values())
    found = {prompts.get(id, id) for fine_tunings in arms for id in fine_tunings[0]}
    return {prompt: place for place, prompt in enumerate(sorted(found))}


def _drawn(rng: np.random.Generator, prompts: int) -> Iterator[Array]:
    """How often each prompt is drawn in each resample, in batches: all at once they would take 16 KB a prompt."""
    batch = min(RESAMPLES, max(1, LARGEST_DRAW // max(1, prompts)))
    for start in range(0, RESAMPLES, batch):
        resamples = min(batch, RESAMPLES - start)
        yield draws(rng, prompts, resamples) if prompts else np.empty((resamples, 0))


def _weights(
    columns: Mapping[str, tuple[Direction, Arms]], rng: np.random.Generator
) -> Iterator[tuple[tuple[str, int], Array]]:
    """What each of an arm's k fine-tunings counts for in each resample, the same in all columns that have k."""
    sizes = {(arm, len(fine_tunings)) for _, arms in columns.values() for arm, fine_tunings in arms.items()}
    for arm, k in sorted(sizes):
        drawn = rng.multinomial(max(1, k - 1), [1 / k] * k, size=RESAMPLES)
        yield (arm, k), drawn / max(1, k - 1)


def _gathered(fine_tunings: Sequence[Scores], prompts: Prompts, places: Mapping[str, int]) -> tuple[Array, Array]:
    """The sums of each prompt's scores in each fine-tuning [prompts, fine-tunings], and their numbers [prompts]."""
    sums, counts = np.zeros((len(places), len(fine_tunings))), np.zeros(len(places))
    at = [places[prompt] for prompt in sorted({prompts.get(id, id) for id in fine_tunings[0]})]
    for number, scores in enumerate(fine_tunings):
        gathered = by_prompt(scores, prompts)
        sums[at, number], counts[at] = gathered.sums, gathered.counts
    return sums, counts


def _means(sums: Array, counts: Array, times: Array) -> Array:
    """The mean of each fine-tuning in each resample; 0 for all where a resample holds none of the column's prompts."""
    means: Array = times @ sums / np.maximum(times @ counts, 1)[:, None]
    return means


def _ranked(means: Array, direction: Direction) -> Array:
    from scipy.stats import rankdata

    ranks: Array = rankdata(np.round(-means if direction == "higher" else means, _DIGITS), axis=1)
    return ranks


@dataclass(frozen=True)
class Standing:
    """A run's place in the overall ranking.

    Args:
        run: Name of the run.
        place: 1 for the best; runs of the same mean rank share a place.
        mean_rank: The plain mean of its ranks over the columns.
        tied: Whether another run shares the place.
        borda: Borda points: over all columns, how many runs it is ahead of, a tie counting half.
        first: Share of the bootstrap resamples in which it comes first; runs that tie there share the resample.
        places: The best and the worst place that the resamples give it, at the confidence of the comparison.
    """

    run: str
    place: int
    mean_rank: float
    tied: bool
    borda: float = 0.0
    first: float | None = None
    places: tuple[int, int] | None = None


def column_ranks(means: Mapping[str, float], direction: Direction) -> dict[str, float]:
    """The rank of each run, 1 for the best; runs that tie share the mean of their places."""
    sign = -1 if direction == "higher" else 1
    keys = {run: sign * mean for run, mean in means.items()}
    return {run: _places_before(key, keys) + (1 + list(keys.values()).count(key)) / 2 for run, key in keys.items()}


def overall_ranking(
    ranks: Mapping[str, Mapping[str, float | None]],
    resampled: Mapping[str, Array] | None = None,
    confidence: float = 0.95,
) -> tuple[list[Standing], list[str]]:
    """Orders runs by their mean rank: the plain mean of a run's ranks over the columns in which every run is ranked.

    Every column weighs the same, however alike two columns are and however small the differences within one.

    Args:
        ranks: Per column the rank of every run, None where it is not ranked.
        resampled: Of each column that ranks every run, the ranks in the resamples (`stability.resampled_ranks`).
        confidence: Share of the resamples that the interval of a place shall hold.

    Returns:
        The runs from best to worst, none where no column ranks them all; and the names of the columns left out.
    """
    complete = {name: column for name, column in ranks.items() if None not in column.values()}
    left_out = [name for name in ranks if name not in complete]
    means = _mean_ranks(list(complete.values()))
    first, spans = _stability([resampled[name] for name in complete] if resampled else [], confidence)
    places = {run: 1 + _places_before(mean, means) for run, mean in means.items()}
    standings = [
        Standing(
            run=run,
            place=place,
            mean_rank=means[run],
            tied=list(places.values()).count(place) > 1,
            borda=len(complete) * (len(means) - means[run]),
            first=first[number] if first else None,
            places=spans[number] if spans else None,
        )
        for number, (run, place) in enumerate(places.items())
    ]
    return sorted(standings, key=lambda standing: standing.place), left_out


def _stability(resampled: Sequence[Array], confidence: float) -> tuple[list[float], list[tuple[int, int]]]:
    if not resampled:
        return [], []
    mean_ranks = sum(resampled[1:], resampled[0]) / len(resampled)
    return shares_first(mean_ranks), place_intervals(mean_ranks, confidence)


def _places_before(key: float, keys: Mapping[str, float]) -> int:
    return sum(other < key for other in keys.values())


def _mean_ranks(columns: list[Mapping[str, float | None]]) -> dict[str, float]:
    runs = columns[0] if columns else {}
    return {run: sum(column[run] or 0.0 for column in columns) / len(columns) for run in runs}
