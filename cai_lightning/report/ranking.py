"""Ranks of runs in one column, and the overall ranking over all of them.

>>> column_ranks({"base": 0.2, "random": 0.5, "contextual": 0.5}, "higher")
{'base': 3.0, 'random': 1.5, 'contextual': 1.5}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cai_lightning.report.stability import place_intervals, shares_first
from cai_lightning.report.summary import Direction
from cai_lightning.statistics.clusters import Array


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
