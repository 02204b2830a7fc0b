"""Runs are compared where they were judged alike, on the prompts they share."""

import pytest

from cai_lightning.errors import UserError
from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.ranking import column_ranks, overall_ranking
from cai_lightning.report.runs import load_runs, name_runs
from cai_lightning.statistics import mean_interval, paired_difference

LOW = {f"{n:04x}": n % 10 / 10 for n in range(40)}
HIGH = {id: value + 0.2 for id, value in LOW.items()}


def compare(*paths, baseline=None, **options):
    runs = load_runs(paths)
    return compare_runs(runs, baseline or runs[0].name, **options)


def cells(comparison, column):
    (found,) = [c for c in comparison.columns if c.name == column]
    return {cell.run: cell for cell in found.cells}


def test_means_intervals_and_differences_are_those_of_the_statistics(make_run):
    comparison = compare(make_run("base", {"harmless": LOW}), make_run("tuned", {"harmless": HIGH}))
    base, tuned = cells(comparison, "harmless").values()
    assert comparison.baseline == "base"
    assert base.estimate == mean_interval(LOW)
    assert tuned.estimate == mean_interval(HIGH)
    assert base.difference is None
    assert tuned.difference == paired_difference(HIGH, LOW)
    assert tuned.difference.estimate.mean == pytest.approx(0.2)
    assert tuned.difference.estimate.excludes_zero
    assert comparison.notes == ()


@pytest.mark.parametrize(("direction", "ranks"), [("higher", (2.0, 1.0)), ("lower", (1.0, 2.0))])
def test_ranks_honour_the_direction(make_run, direction, ranks):
    report = {"harm": {"direction": direction}}
    comparison = compare(make_run("base", {"harm": LOW}, **report), make_run("tuned", {"harm": HIGH}, **report))
    assert tuple(cell.rank for cell in cells(comparison, "harm").values()) == ranks
    assert comparison.columns[0].direction == direction


def test_a_baseline_may_be_any_run(make_run):
    comparison = compare(make_run("base", {"m": LOW}), make_run("tuned", {"m": HIGH}), baseline="tuned")
    base, tuned = cells(comparison, "m").values()
    assert tuned.difference is None
    assert base.difference.estimate.mean == pytest.approx(-0.2)


def test_runs_with_other_prompts_are_compared_on_the_common_ones(make_run):
    first = dict(list(LOW.items())[:30])
    last = dict(list(HIGH.items())[10:])
    comparison = compare(make_run("base", {"m": first}), make_run("tuned", {"m": last}))
    base, tuned = cells(comparison, "m").values()
    common = first.keys() & last.keys()
    assert comparison.columns[0].prompts == len(common) == 20
    assert base.estimate == mean_interval({id: LOW[id] for id in common})
    assert (base.scored, tuned.scored) == (30, 30)
    assert (tuned.difference.estimate.n, tuned.difference.left_out) == (20, 20)
    assert comparison.notes == ("m: compared on the 20 prompts scored in every run (scored: base 30, tuned 30).",)


def test_runs_without_a_common_prompt_are_shown_side_by_side_unranked(make_run):
    comparison = compare(make_run("base", {"m": {"a": 0.0, "b": 1.0}}), make_run("tuned", {"m": {"c": 1.0}}))
    base, tuned = cells(comparison, "m").values()
    assert (base.estimate.mean, tuned.estimate.mean) == (0.5, 1.0)
    assert (base.rank, tuned.rank) == (None, None)
    assert tuned.difference.estimate.mean is None
    assert comparison.ranking == ()
    assert "no prompt is scored in every run" in comparison.notes[0]


def test_other_settings_do_not_compare(make_run):
    comparison = compare(
        make_run("base", {"m": LOW}),
        make_run("tuned", {"m": HIGH}),
        make_run("old", {"m": HIGH}, m={"settings": "s0"}),
    )
    _, tuned, old = cells(comparison, "m").values()
    assert tuned.rank == 1.0
    assert (old.compared, old.rank, old.difference) == (False, None, None)
    assert old.estimate == mean_interval(HIGH)
    assert "m: old does not compare with base: other settings." in comparison.notes


def test_other_references_do_not_compare_where_they_are_used(make_run):
    free = {"harmless": {"uses_references": False}}
    columns = {"similar": LOW, "harmless": LOW}
    comparison = compare(
        make_run("base", columns, references="r1", **free), make_run("tuned", columns, references="r2", **free)
    )
    assert not cells(comparison, "similar")["tuned"].compared
    assert cells(comparison, "harmless")["tuned"].compared
    assert comparison.notes[0] == "similar: tuned does not compare with base: other references."


def test_unscored_rows_and_missing_evaluators_are_shown(make_run):
    comparison = compare(
        make_run("base", {"m": LOW | {"ff": None}, "judge": {}}, judge={"not_run": "no server"}),
        make_run("tuned", {"m": HIGH, "judge": {"a": 1.0, "b": 0.0}}),
        make_run("plain", {"m": LOW}),
    )
    assert cells(comparison, "m")["base"].unscored == 1
    base, tuned, plain = cells(comparison, "judge").values()
    assert base.not_run == "no server"
    assert plain.not_run == "not among its metrics"
    assert (tuned.difference, tuned.rank, tuned.estimate.mean) == (None, 1.0, 0.5)
    assert "judge: no differences, for the baseline base has no scores." in comparison.notes
    assert "The overall ranking leaves out judge: not every run is ranked there." in comparison.notes
    assert [(s.run, s.place, s.tied) for s in comparison.ranking] == [
        ("tuned", 1, False), ("base", 2, True), ("plain", 2, True),
    ]  # fmt: skip


def test_a_wider_confidence_gives_wider_intervals(make_run):
    paths = make_run("base", {"m": LOW}), make_run("tuned", {"m": HIGH})
    wide, narrow = (cells(compare(*paths, confidence=c), "m")["base"].estimate for c in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


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


def test_runs_are_named_by_as_much_of_their_path_as_it_takes(tmp_path):
    paths = [tmp_path / part for part in ("x/a/qwen", "y/a/qwen", "b/qwen", "mistral")]
    assert name_runs(paths) == ["x/a/qwen", "y/a/qwen", "b/qwen", "mistral"]


def test_names_are_printable(tmp_path):
    assert name_runs([tmp_path / "red\x1b[31m\nrun"]) == ["red\\x1b[31m run"]


def test_a_run_named_twice_is_an_error(tmp_path):
    with pytest.raises(UserError, match="named twice"):
        name_runs([tmp_path / "a", tmp_path / "b" / ".." / "a"])


def test_no_run_is_an_error():
    with pytest.raises(UserError, match="at least one run"):
        load_runs([])
