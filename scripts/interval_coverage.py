"""How often the intervals of `cai_lightning.statistics` hold the truth, beside the percentile bootstrap: for the diary.

python scripts/interval_coverage.py
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cai_lightning.statistics import arm_difference, arm_mean, mean_interval
from cai_lightning.statistics.intervals import (
    RESAMPLES,
    draws,
    gather,
    rate_difference_interval,
    student_quantile,
    studentized_quantiles,
    wilson,
)

PROMPTS, SEED = 100, 7
Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]

SCORES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "exponential": (lambda rng, size: rng.exponential(size=size), 1.0),
    "lognormal": (lambda rng, size: rng.lognormal(size=size), math.exp(0.5)),
    "beta(8, 1)": (lambda rng, size: rng.beta(8, 1, size=size), 8 / 9),
    "beta(0.3, 3)": (lambda rng, size: rng.beta(0.3, 3, size=size), 1 / 11),
}
CHANGES = [(0.05, 0.05), (0.02, 0.1), (0.09, 0.09), (0.08, 0.18), (0.25, 0.25)]
"""Shares of prompts in which one of two rates is gained and lost."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--experiments", type=int, default=2_000, help="simulated ones; 40 at the least, for a try")
    experiments = parser.parse_args().experiments
    for prompts in (5, 10, 20, 50, PROMPTS, 500):
        rates(prompts)
    scores(experiments)
    changes(experiments)
    arms(experiments)
    arms_of_rates(experiments)


def rates(prompts: int) -> None:
    """Exactly, over the binomial distribution: no simulation, no noise."""
    times = draws(np.random.default_rng(SEED), prompts, RESAMPLES)
    counts = np.arange(prompts + 1)
    values = (np.arange(prompts) < counts[:, None]).astype(np.float64)
    quantile = student_quantile(prompts - 1, 0.95)
    kinds = {
        "shipped": np.array([mean_interval(by_id(row)).interval for row in values]),
        "with Student's quantile": np.array([wilson(count / prompts, prompts, quantile) for count in counts]),
        "percentile": np.quantile(values @ times.T / prompts, [0.025, 0.975], axis=1).T,
    }
    grid = np.arange(0.1, 0.9001, 0.002)
    chances = stats.binom.pmf(counts, prompts, grid[:, None])
    for name, (low, high) in ((name, intervals.T) for name, intervals in kinds.items()):
        covered = (chances * ((low <= grid[:, None]) & (grid[:, None] <= high))).sum(axis=1)
        tenths = [f"{100 * covered[place]:.1f}" for place in range(0, 401, 50)]
        span = f"{100 * covered.min():.1f} to {100 * covered.max():.1f}, mean {100 * covered.mean():.1f}"
        width = f"{(high - low).mean():.3f} wide"
        print(f"{prompts} prompts, rates of 0.1 to 0.9, {name}: {span} %, {width}; at the tenths {', '.join(tenths)} %")


def scores(experiments: int) -> None:
    times = draws(np.random.default_rng(SEED), PROMPTS, RESAMPLES)
    for name, (draw, truth) in SCORES.items():
        values = draw(np.random.default_rng(SEED), (experiments, PROMPTS))
        shipped = np.concatenate([studentized(rows) for rows in np.split(values, 8)])
        percentile = np.concatenate(
            [np.quantile(rows @ times.T / PROMPTS, [0.025, 0.975], axis=1).T for rows in np.split(values, 8)]
        )
        print(f"scores, {name}: {held(shipped, truth)} %, percentile {held(percentile, truth)} %", flush=True)


def studentized(rows: Array) -> Array:
    means, errors = rows.mean(axis=1), rows.std(axis=1, ddof=1) / math.sqrt(PROMPTS)
    low, high = studentized_quantiles(rows, np.ones(PROMPTS), 0.95)
    return np.stack([means - high * errors, means - low * errors], axis=1)


def changes(experiments: int) -> None:
    for gained, lost in CHANGES:
        rng = np.random.default_rng(SEED)
        counts = rng.multinomial(PROMPTS, [gained, lost, 1 - gained - lost], size=experiments).tolist()
        of = {(up, down): change(up, down) for up, down, _ in counts}
        intervals = np.array([of[up, down] for up, down, _ in counts])
        print(f"differences of rates, {gained} gained and {lost} lost: {held(intervals, gained - lost)} %")


def change(gained: int, lost: int) -> tuple[float, float]:
    values = np.repeat([1.0, -1.0, 0.0], [gained, lost, PROMPTS - gained - lost])
    return rate_difference_interval(gather(values, np.arange(PROMPTS)), 0.95)


def arms(experiments: int) -> None:
    """Scores with a deviation of 1 between prompts, 0.5 within, and some between fine-tunings."""
    for seeds in (2, 3, 4, 5):
        for between in (0.0, 0.1, 0.3, 1.0):
            rng, means, differences = np.random.default_rng(SEED), [], []
            for _ in range(experiments // 2):
                drawn = rng.normal(size=PROMPTS) + rng.normal(scale=between, size=(2, seeds, 1))
                drawn = drawn + rng.normal(scale=0.5, size=(2, seeds, PROMPTS))
                arm, other = ([by_id(row) for row in rows] for rows in drawn)
                means.append(arm_mean(arm).interval)
                differences.append(arm_difference(arm, other).estimate.interval)
            found = f"mean {held(np.array(means), 0.0)} %, difference {held(np.array(differences), 0.0)} %"
            print(f"{seeds} fine-tunings, {between} between them: {found}", flush=True)


def arms_of_rates(experiments: int) -> None:
    """Rates of arms whose fine-tunings do not differ, for prompts of which some give the same in all of them."""
    for rate in (0.005, 0.02, 0.1, 0.3):
        for alike in (0.0, 0.5, 0.75, 1.0):
            found = ", ".join(arm_of_rates(experiments, rate, alike, seeds) for seeds in (2, 3, 5))
            print(f"rate {rate}, {alike} of the prompts alike in all of 2, 3, 5 fine-tunings: {found}", flush=True)


def arm_of_rates(experiments: int, rate: float, alike: float, seeds: int) -> str:
    """Of the mean of an arm, and (less often, for it takes longer) of its difference to one of twice the rate."""
    rng, means, differences = np.random.default_rng(SEED), [], []
    for number in range(experiments // 2):
        drawn = np.where(rng.random(PROMPTS) < alike, rng.random(PROMPTS), rng.random((2, seeds, PROMPTS)))
        arm, other = ([by_id(row < at) for row in rows] for rows, at in zip(drawn, (rate, 2 * rate), strict=True))
        means.append(arm_mean(arm).interval)
        if number < experiments // 20:
            differences.append(arm_difference(arm, other).estimate.interval)
    return f"mean {held(np.array(means), rate)} %, difference {held(np.array(differences), -rate)} %"


def by_id(values: Array) -> dict[str, float]:
    return {f"{n:04x}": float(value) for n, value in enumerate(values)}


def held(intervals: Array, truth: float) -> str:
    return f"{100 * ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean():.1f}"


if __name__ == "__main__":
    main()
