"""Ranks, the overall ranking, and how stable both are when prompts and fine-tunings are drawn again."""

import random

import numpy as np
import pytest

from cai_lightning.report import comparison
from cai_lightning.report.comparison import (
    column_ranks,
    overall_ranking,
    place_intervals,
    resampled_ranks,
    shares_first,
)
from cai_lightning.statistics import intervals

IDS = [f"{n:04x}" for n in range(60)]


def scores(seed, shift=0.0):
    return dict(zip(IDS, np.random.default_rng(seed).normal(shift, size=len(IDS)).tolist(), strict=True))


def drawn(ranks):
    """As if every resample had these ranks."""
    return {name: np.array([[*column.values()]] * 3, dtype=float) for name, column in ranks.items()}


def test_ties_share_the_mean_of_their_places():
    means = {"a": 0.5, "b": 0.75, "c": 0.5, "d": 0.0}
    assert column_ranks(means, "higher") == {"b": 1.0, "a": 2.5, "c": 2.5, "d": 4.0}
    assert column_ranks(means, "lower") == {"d": 1.0, "a": 2.5, "c": 2.5, "b": 4.0}


def test_the_overall_ranking_is_the_mean_rank():
    ranks = {"m1": {"a": 1.0, "b": 2.0, "c": 3.0}, "m2": {"a": 3.0, "b": 2.0, "c": 1.0}, "m3": {"a": 1.0, "b": None}}
    standings, left_out = overall_ranking(ranks, drawn(ranks))
    assert left_out == ["m3"]
    assert [(s.run, s.place, s.mean_rank, s.tied) for s in standings] == [(r, 1, 2.0, True) for r in "abc"]
    assert overall_ranking({}, {}) == ([], [])


def test_borda_points_count_who_is_behind():
    ranks = {"m1": {"a": 1.0, "b": 2.0, "c": 3.0}, "m2": {"a": 1.5, "b": 1.5, "c": 3.0}}
    standings, _ = overall_ranking(ranks, drawn(ranks))
    assert {s.run: s.borda for s in standings} == {"a": 2 + 1.5, "b": 1 + 1.5, "c": 0.0}


def test_shares_first_are_those_of_a_bootstrap_written_out():
    a, b = scores(0, 0.1), scores(1)
    ranks = resampled_ranks({"m": ("higher", {"a": [a], "b": [b]})})["m"]
    draw, ahead = random.Random(0), 0
    for _ in range(4_000):
        drawn = draw.choices(IDS, k=len(IDS))
        ahead += sum(a[id] - b[id] for id in drawn) > 0
    assert shares_first(ranks)[0] == pytest.approx(ahead / 4_000, abs=0.03)
    assert sum(shares_first(ranks)) == pytest.approx(1)


def test_a_run_that_is_ahead_everywhere_is_always_first():
    columns = {"harm": ("lower", {"a": [scores(0)], "b": [scores(0, 0.5)], "c": [scores(0, 1.0)]})}
    ranks = resampled_ranks(columns)["harm"]
    assert shares_first(ranks) == [1.0, 0.0, 0.0]
    assert place_intervals(ranks, 0.95) == [(1, 1), (2, 2), (3, 3)]


def test_runs_that_are_the_same_share_the_first_place():
    ranks = resampled_ranks({"m": ("higher", {"a": [scores(0)], "b": [scores(0)]})})["m"]
    assert shares_first(ranks) == [0.5, 0.5]
    assert place_intervals(ranks, 0.95) == [(1, 1), (1, 1)]


def test_the_same_prompts_are_drawn_in_all_columns():
    arms = {"a": [scores(0, 0.1)], "b": [scores(1)]}
    ranks = resampled_ranks({"m": ("higher", arms), "n": ("lower", arms)})
    assert np.array_equal(ranks["m"], 3 - ranks["n"])
    standings, _ = overall_ranking({"m": {"a": 1.0, "b": 2.0}, "n": {"a": 2.0, "b": 1.0}}, ranks)
    assert [(s.first, s.places) for s in standings] == [(0.5, (1, 1))] * 2


def test_columns_may_have_scored_other_prompts():
    few = {id: value for id, value in scores(0).items() if id < "0004"}
    other = {id: value + 1 for id, value in few.items()}
    columns = {"m": ("higher", {"a": [few], "b": [other]}), "n": ("higher", {"a": [scores(0)], "b": [scores(0, 1)]})}
    ranks = resampled_ranks(columns)
    assert shares_first(ranks["m"])[1] > 0.95  # ties where none of the four is drawn
    assert shares_first(ranks["n"])[1] == 1.0


def test_fine_tunings_are_drawn_as_much_apart_as_they_are():
    shifts, n = np.array([0.0, 0.2, 0.7]), 2_000
    constant = [dict.fromkeys(IDS, float(shift)) for shift in shifts]
    above = [
        shares_first(resampled_ranks({"m": ("higher", {"arm": constant, "line": [dict.fromkeys(IDS, line)]})})["m"])[0]
        for line in (0.05, 0.3, 0.4)
    ]
    means = [np.mean(pair) for pair in np.random.default_rng(1).choice(shifts, size=(n, 2))]  # two of three are drawn
    expected = [np.mean(np.array(means) > line) for line in (0.05, 0.3, 0.4)]
    assert above == pytest.approx(expected, abs=0.04)


def all_at_once(columns):
    """A reference: draws all resamples in one array, however large it is."""
    prompts = sorted({id for _, arms in columns.values() for runs in arms.values() for id in runs[0]})
    rng = np.random.default_rng(intervals.SEED)
    drawn = rng.integers(len(prompts), size=(comparison.RESAMPLES, len(prompts)))
    times = np.stack([np.bincount(row, minlength=len(prompts)) for row in drawn])
    sizes = sorted({(arm, len(runs)) for _, arms in columns.values() for arm, runs in arms.items()})
    weights = {
        (arm, k): rng.multinomial(max(1, k - 1), [1 / k] * k, size=comparison.RESAMPLES) / max(1, k - 1)
        for arm, k in sizes
    }
    found = {}
    for name, (direction, arms) in columns.items():
        means = []
        for arm, runs in arms.items():
            held = np.array([[run.get(id, np.nan) for id in prompts] for run in runs])
            known = ~np.isnan(held[0])
            sums = times[:, known] @ held[:, known].T / np.maximum(times[:, known].sum(axis=1), 1)[:, None]
            means.append((sums * weights[arm, len(runs)]).sum(axis=1))
        turned = np.round(np.stack(means, axis=1) * (-1 if direction == "higher" else 1), 12)
        ahead, even = turned[:, None] < turned[:, :, None], turned[:, None] == turned[:, :, None]
        found[name] = ahead.sum(axis=2) + (even.sum(axis=2) + 1) / 2
    return found


@pytest.mark.parametrize("seed", range(12))
def test_batches_of_resamples_give_the_ranks_of_all_at_once(seed, monkeypatch):
    chance = random.Random(seed)
    ids = [f"{n:04x}" for n in range(chance.randint(1, 60))]

    def arm(known):
        return [
            {id: round(chance.random(), chance.choice([0, 1, 9])) for id in known} for _ in range(chance.randint(1, 3))
        ]

    columns = {}
    for name in "mno":
        known = chance.sample(ids, chance.randint(1, len(ids)))
        columns[name] = (chance.choice(["higher", "lower"]), {each: arm(known) for each in "abc"})
    monkeypatch.setattr(intervals, "LARGEST_DRAW", chance.choice([1, 100, 7_777, 10**9]))
    ours, theirs = resampled_ranks(columns), all_at_once(columns)
    assert all(np.array_equal(ours[name], theirs[name]) for name in columns)


def test_memory_does_not_grow_with_the_resamples(monkeypatch):
    held = []
    draws = comparison.draws
    monkeypatch.setattr(comparison, "RESAMPLES", 40)
    monkeypatch.setattr(intervals, "LARGEST_DRAW", 200_000)
    monkeypatch.setattr(comparison, "draws", lambda *given: held.append(draws(*given)) or held[-1])
    few = {f"{n:08x}": float(n % 7) for n in range(50_000)}
    ranks = resampled_ranks({"m": ("higher", {"a": [few], "b": [dict.fromkeys(few, 1.0)]})})["m"]
    assert shares_first(ranks) == [1.0, 0.0]
    assert [times.shape for times in held] == [(4, 50_000)] * 10
