"""Ranks of runs in one column and over all of them, and how stable they are.

>>> column_ranks({"base": 0.2, "random": 0.5, "contextual": 0.5}, "higher")
{'base': 3.0, 'random': 1.5, 'contextual': 1.5}

How stable: the ranks that runs would have had with other draws of prompts and fine-tunings.

    ranks = resampled_ranks({"harmlessness": ("higher", {"base": [scores], "tuned": [seed_1, seed_2]})})
    shares_first(ranks["harmlessness"])

In one resample the same prompts are drawn in all columns and runs, so that what goes together stays together. Of k
fine-tunings k - 1 are drawn: drawing k from so few would understate how much their mean varies, by the factor (k-1)/k.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from cai_lightning.statistics import Direction
from cai_lightning.statistics.bootstrap import batch_sizes, draws
from cai_lightning.statistics.intervals import NO_PROMPTS, Array, Prompts, by_prompt

RESAMPLES = 2_000
_DIGITS = 12
"""Means that differ by less differ by rounding, and tie."""

Scores = Mapping[str, float]
Arms = Mapping[str, Sequence[Scores]]


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
    borda: float
    first: float
    places: tuple[int, int]


def column_ranks(means: Mapping[str, float], direction: Direction) -> dict[str, float]:
    """The rank of each run, 1 for the best; runs that tie share the mean of their places."""
    (ranks,) = _ranked(np.array([[*means.values()]]), direction).tolist()
    return dict(zip(means, ranks, strict=True))


def overall_ranking(
    ranks: Mapping[str, Mapping[str, float | None]], resampled: Mapping[str, Array], confidence: float = 0.95
) -> tuple[list[Standing], list[str]]:
    """Orders runs by their mean rank: the plain mean of a run's ranks over the columns in which every run is ranked.

    Every column weighs the same, however alike two columns are and however small the differences within one.

    Args:
        ranks: Per column the rank of every run, None where it is not ranked.
        resampled: Of each column that ranks every run, the ranks in the resamples (`resampled_ranks`).
        confidence: Share of the resamples that the interval of a place shall hold.

    Returns:
        The runs from best to worst, none where no column ranks them all; and the names of the columns left out.
    """
    complete = {name: column for name, column in ranks.items() if None not in column.values()}
    left_out = [name for name in ranks if name not in complete]
    if not complete:
        return [], left_out
    runs = [*next(iter(complete.values()))]
    means = np.array([[column[run] for run in runs] for column in complete.values()], dtype=np.float64).mean(axis=0)
    drawn = np.mean([resampled[name] for name in complete], axis=0)
    known = zip(runs, means.tolist(), shares_first(drawn), place_intervals(drawn, confidence), strict=True)
    standings = [
        Standing(
            run=run,
            place=1 + int((means < mean).sum()),
            mean_rank=mean,
            tied=int((means == mean).sum()) > 1,
            borda=len(complete) * (len(runs) - mean),
            first=first,
            places=places,
        )
        for run, mean, first, places in known
    ]
    return sorted(standings, key=lambda standing: standing.place), left_out


def resampled_ranks(
    columns: Mapping[str, tuple[Direction, Arms]], seed: int = 0, prompts: Prompts = NO_PROMPTS
) -> dict[str, Array]:
    """The ranks of the arms in each column, one row for each resample; 1 is best, ties share the mean of their places.

    Args:
        columns: Per column its direction, and of each arm the scores of its fine-tunings, all over the same ids.
        seed: Seed of the resampling.
        prompts: What each id shares with the others about its prompt.
    """
    rng, ranks = np.random.default_rng(seed), {}
    fine_tunings = [scores for _, arms in columns.values() for runs in arms.values() for scores in runs]
    means = iter(_resampled_means(fine_tunings, prompts, rng)) if fine_tunings else iter(())
    weights = dict(_weights(columns, rng))
    for name, (direction, arms) in columns.items():
        averages = [sum(weight * next(means) for weight in weights[arm, len(runs)]) for arm, runs in arms.items()]
        ranks[name] = _ranked(np.stack(averages, axis=1), direction)
    return ranks


def shares_first(ranks: Array) -> list[float]:
    """The share of resamples in which each arm is first; arms that tie there share the resample."""
    first = ranks <= ranks.min(axis=1, keepdims=True) + 10.0**-_DIGITS
    shares: list[float] = (first / first.sum(axis=1, keepdims=True)).mean(axis=0).tolist()
    return shares


def place_intervals(ranks: Array, confidence: float) -> list[tuple[int, int]]:
    """The best and the worst place of each arm, but for the rarest at both ends."""
    places = 1 + (ranks[:, None, :] < ranks[:, :, None] - 10.0**-_DIGITS).sum(axis=2)
    ends = np.quantile(places, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0, method="nearest")
    return [(int(best), int(worst)) for best, worst in ends.T]


def _resampled_means(fine_tunings: Sequence[Scores], prompts: Prompts, rng: np.random.Generator) -> Array:
    """The mean of each fine-tuning in each resample, a row each; 0 where a resample holds none of its prompts.

    Resamples are drawn in batches: all at once they would take 16 KB a prompt.
    """
    names = [sorted({prompts.get(id, id) for id in scores}) for scores in fine_tunings]
    places = {name: place for place, name in enumerate(sorted(set[str]().union(*names)))}
    sums, counts = np.zeros((2, len(places), len(fine_tunings)))
    for number, (scores, its_names) in enumerate(zip(fine_tunings, names, strict=True)):
        at, clusters = [places[name] for name in its_names], by_prompt(scores, prompts)
        sums[at, number], counts[at, number] = clusters.sums, clusters.counts
    batches = (draws(rng, len(places), size) for size in batch_sizes(RESAMPLES, len(places)))
    means: Array = np.concatenate([times @ sums / np.maximum(times @ counts, 1) for times in batches]).T
    return means


def _weights(
    columns: Mapping[str, tuple[Direction, Arms]], rng: np.random.Generator
) -> Iterator[tuple[tuple[str, int], Array]]:
    """What each of an arm's k fine-tunings counts for in each resample, the same in all columns that have k."""
    sizes = {(arm, len(fine_tunings)) for _, arms in columns.values() for arm, fine_tunings in arms.items()}
    for arm, k in sorted(sizes):
        drawn = rng.multinomial(max(1, k - 1), [1 / k] * k, size=RESAMPLES)
        yield (arm, k), drawn.T / max(1, k - 1)


def _ranked(means: Array, direction: Direction) -> Array:
    ranks: Array = scipy.stats.rankdata(np.round(-means if direction == "higher" else means, _DIGITS), axis=1)
    return ranks
