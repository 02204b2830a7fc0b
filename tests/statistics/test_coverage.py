"""The shipped intervals hold the truth as often as they say, over 2,000 simulated experiments of 100 prompts each."""

import math

import numpy as np
import pytest
from scipy import stats

from cai_lightning.statistics import arm_difference, arm_mean, mean_interval
from cai_lightning.statistics.intervals import gather, rate_difference_interval, studentized_quantiles

EXPERIMENTS, PROMPTS = 2_000, 100
IDS = [f"{n:04x}" for n in range(PROMPTS)]
RATES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
SCORES = {
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "very skewed": (lambda rng, size: rng.lognormal(size=size), math.exp(0.5)),
    "near its bound": (lambda rng, size: rng.beta(8, 1, size=size), 8 / 9),
}


def by_id(values):
    return dict(zip(IDS, map(float, values), strict=True))


def held(interval, truth):
    return interval[0] <= truth <= interval[1]


def rate_intervals():
    """The interval of every number of ones that 100 prompts can have."""
    return [mean_interval(by_id(np.arange(PROMPTS) < ones)).interval for ones in range(PROMPTS + 1)]


@pytest.mark.parametrize("rate", RATES)
def test_rates(rate):
    ones = (np.random.default_rng(7).random((EXPERIMENTS, PROMPTS)) < rate).sum(axis=1)
    of = {count: mean_interval(by_id(np.arange(PROMPTS) < count)).interval for count in set(ones.tolist())}
    assert 0.93 <= np.mean([held(of[count], rate) for count in ones.tolist()]) <= 0.97


def test_every_rate_between_a_tenth_and_nine_tenths():
    low, high = np.array(rate_intervals()).T
    for rate in np.arange(0.1, 0.9001, 0.002):
        chances = stats.binom.pmf(np.arange(PROMPTS + 1), PROMPTS, rate)
        assert 0.93 <= chances[(low <= rate) & (rate <= high)].sum() <= 0.97


@pytest.mark.parametrize("kind", SCORES)
def test_scores(kind):
    draw, truth = SCORES[kind]
    values = draw(np.random.default_rng(7), (EXPERIMENTS, PROMPTS))
    intervals = np.concatenate([intervals_of(rows) for rows in np.split(values, 8)])
    assert intervals[0] == pytest.approx(mean_interval(by_id(values[0])).interval)
    assert 0.93 <= np.mean([held(interval, truth) for interval in intervals]) <= 0.97


def intervals_of(rows):
    """What `mean_interval` gives each row, all rows at once."""
    means, errors = rows.mean(axis=1), rows.std(axis=1, ddof=1) / math.sqrt(PROMPTS)
    low, high = studentized_quantiles(rows, np.ones(PROMPTS), 0.95)
    return np.stack([means - high * errors, means - low * errors], axis=1)


@pytest.mark.parametrize(("gained", "lost"), [(0.05, 0.05), (0.02, 0.1), (0.08, 0.18), (0.25, 0.25)])
def test_differences_of_rates(gained, lost):
    """Where few prompts differ the interval is somewhat wide, as Bonett and Price found too."""
    rng = np.random.default_rng(7)
    counts = rng.multinomial(PROMPTS, [gained, lost, 1 - gained - lost], size=EXPERIMENTS).tolist()
    of = {(up, down): difference_interval(up, down) for up, down, _ in counts}
    assert 0.93 <= np.mean([held(of[up, down], gained - lost) for up, down, _ in counts]) <= 0.975


def difference_interval(gained, lost):
    """What `arm_difference` gives two rates of which so many prompts differ; its test compares the two."""
    values = np.repeat([1.0, -1.0, 0.0], [gained, lost, PROMPTS - gained - lost])
    return rate_difference_interval(gather(values, np.arange(PROMPTS)), 0.95)


@pytest.mark.parametrize(("rate", "alike", "seeds"), [(0.005, 0.0, 3), (0.02, 0.75, 5), (0.1, 0.5, 3), (0.3, 0.0, 5)])
def test_rates_of_arms(rate, alike, seeds):
    """Never too narrow, also where most arms have no failure at all; `alike`: how far a prompt's seeds agree."""
    rng, experiments, by_mean, by_difference = np.random.default_rng(7), 200, 0, 0
    for _ in range(experiments):
        chances = np.where(rng.random(PROMPTS) < alike, rng.random(PROMPTS) < rate, rate)
        arm, other = ([by_id(rng.random(PROMPTS) < chances) for _ in range(seeds)] for _ in range(2))
        by_mean += held(arm_mean(arm).interval, rate)
        by_difference += held(arm_difference(arm, other).estimate.interval, 0.0)
    assert min(by_mean, by_difference) >= 0.91 * experiments  # 0.95 less 2.6 standard errors


@pytest.mark.parametrize(("seeds", "between"), [(2, 0.3), (3, 0.1), (5, 1.0)])
def test_arms_of_several_fine_tunings(seeds, between):
    """Never too narrow, whatever part of the variance is between fine-tunings; too wide where both parts are alike."""
    rng, experiments, by_mean, by_difference = np.random.default_rng(7), 200, 0, 0
    for _ in range(experiments):
        scores = rng.normal(size=PROMPTS) + rng.normal(scale=between, size=(2, seeds, 1))
        arm, other = ([by_id(row) for row in rows] for rows in scores + rng.normal(scale=0.5, size=(2, seeds, PROMPTS)))
        by_mean += held(arm_mean(arm).interval, 0.0)
        by_difference += held(arm_difference(arm, other).estimate.interval, 0.0)
    assert min(by_mean, by_difference) >= 0.91 * experiments  # 0.95 less 2.6 standard errors
