"""Ranks, the overall ranking, and how stable both are when prompts and fine-tunings are drawn again."""

import random

import numpy as np
import pytest

from cai_lightning.report.ranking import column_ranks, overall_ranking
from cai_lightning.report.stability import place_intervals, resampled_ranks, shares_first

IDS = [f"{n:04x}" for n in range(60)]


def scores(seed, shift=0.0):
    return dict(zip(IDS, np.random.default_rng(seed).normal(shift, size=len(IDS)).tolist(), strict=True))


def test_ties_share_the_mean_of_their_places():
    means = {"a": 0.5, "b": 0.75, "c": 0.5, "d": 0.0}
    assert column_ranks(means, "higher") == {"b": 1.0, "a": 2.5, "c": 2.5, "d": 4.0}
    assert column_ranks(means, "lower") == {"d": 1.0, "a": 2.5, "c": 2.5, "b": 4.0}


def test_the_overall_ranking_is_the_mean_rank():
    ranks = {"m1": {"a": 1.0, "b": 2.0, "c": 3.0}, "m2": {"a": 3.0, "b": 2.0, "c": 1.0}, "m3": {"a": 1.0, "b": None}}
    standings, left_out = overall_ranking(ranks)
    assert left_out == ["m3"]
    assert [(s.run, s.place, s.mean_rank, s.tied) for s in standings] == [(r, 1, 2.0, True) for r in "abc"]
    assert overall_ranking({}) == ([], [])


def test_borda_points_count_who_is_behind():
    ranks = {"m1": {"a": 1.0, "b": 2.0, "c": 3.0}, "m2": {"a": 1.5, "b": 1.5, "c": 3.0}}
    standings, _ = overall_ranking(ranks)
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
