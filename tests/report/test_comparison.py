"""Runs are compared where they were judged alike, on the prompts they share."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.runs import Run, arms_of, load_runs, name_runs
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.statistics import arm_difference, holm, mean_interval

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
    p = arm_difference([HIGH], [LOW]).p_value
    assert tuned.difference == replace(arm_difference([HIGH], [LOW]), p_holm=p, significant=True)
    assert tuned.difference.estimate.mean == pytest.approx(0.2)
    assert tuned.difference.estimate.excludes_zero
    assert comparison.notes == ()


@pytest.mark.parametrize("seeds", [[""], ["@1", "@2"]])
def test_ones_on_a_scale_from_1_to_5_are_no_rate(make_run, seeds):
    ones, scale = dict.fromkeys(LOW, 1.0), {"scale": [1.0, 5.0]}
    names = [f"{arm}{seed}" for arm in ("base", "tuned") for seed in seeds]
    runs = [make_run(name, {"judge": ones, "share": ones}, adapter=name, judge=scale) for name in names]
    comparison = compare(*runs)
    assert [cell.estimate.interval for cell in cells(comparison, "judge").values()] == [[1.0, 1.0]] * 2
    assert cells(comparison, "judge")["tuned"].difference.estimate.interval == [0.0, 0.0]
    assert [cell.estimate.low < 1 for cell in cells(comparison, "share").values()] == [True, True]
    assert cells(comparison, "share")["tuned"].difference.estimate.interval != [0.0, 0.0]


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
    assert old.estimate == replace(mean_interval(HIGH), low=None, high=None)
    assert "m: old does not compare with base: other settings." in comparison.notes


def test_another_model_behind_the_same_settings_does_not_compare(make_run):
    paths = [make_run(name, {"m": LOW}, m={"revision": f"model of {name}"}) for name in ("base", "tuned")]
    comparison = compare(*paths)
    assert (cells(comparison, "m")["tuned"].compared, comparison.ranking) == (False, ())
    assert comparison.notes[0] == "m: tuned does not compare with base: other model revision."


def test_other_prompts_do_not_compare_in_any_metric(make_run):
    first, last = list(LOW)[:30], list(LOW)[10:]
    comparison = compare(
        make_run("base", {"m": {id: LOW[id] for id in first}, "n": {id: LOW[id] for id in first}}, prompts=first),
        make_run("tuned", {"m": {id: HIGH[id] for id in last}, "n": {id: HIGH[id] for id in last}}, prompts=last),
    )
    for column in "mn":
        tuned = cells(comparison, column)["tuned"]
        assert (tuned.compared, tuned.difference, tuned.rank, tuned.estimate.interval) == (False, None, None, None)
        assert tuned.estimate.n == 30
    assert comparison.notes[0] == "m, n: tuned does not compare with base: other prompts."


def test_unscored_rows_of_the_same_prompts_leave_out_their_pairs(make_run):
    comparison = compare(
        make_run("base", {"m": LOW | {"0003": None}}, prompts=list(LOW)),
        make_run("tuned", {"m": HIGH | {"0005": None}}, prompts=list(LOW)),
    )
    tuned = cells(comparison, "m")["tuned"]
    assert (tuned.difference.estimate.n, tuned.difference.left_out, tuned.unscored) == (38, 2, 1)
    assert comparison.notes == ("m: compared on the 38 prompts scored in every run (scored: base 39, tuned 39).",)


def test_scores_of_prompts_outside_the_limit_do_not_count(make_run):
    run = make_run("base", {"m": LOW}, prompts=list(LOW)[:10], responses=dict.fromkeys(LOW, "yes"))
    (loaded,) = load_runs([run])
    assert loaded.values("m").keys() == loaded.responses.keys() == loaded.prompts == set(list(LOW)[:10])


def test_a_summary_whose_prompts_are_no_ids_is_an_error(make_run):
    path = make_run("base", {"m": LOW}) / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": 12}))
    with pytest.raises(UserError, match="field 'prompts' should be a valid array, found 12"):
        load_runs([path.parent])


def test_other_references_do_not_compare_where_they_are_used(make_run):
    free = {"harmless": {"uses_references": False}}
    columns = {"similar": LOW, "harmless": LOW}
    comparison = compare(
        make_run("base", columns, references="r1", **free), make_run("tuned", columns, references="r2", **free)
    )
    assert not cells(comparison, "similar")["tuned"].compared
    assert cells(comparison, "harmless")["tuned"].compared
    assert cells(comparison, "similar")["tuned"].estimate == mean_interval(LOW)  # side by side, not comparable
    assert comparison.notes[0] == "similar: tuned does not compare with base: other references."


def test_p_values_are_corrected_over_all_metrics(make_run):
    rng = np.random.default_rng(0)
    noise = [dict(zip(LOW, rng.normal(0.4, size=40).tolist(), strict=True)) for _ in range(4)]
    shifted = [{id: LOW[id] + extra[id] for id in LOW} for extra in noise]
    comparison = compare(
        make_run("base", {"m": LOW, "n": LOW}),
        make_run("one", {"m": shifted[0], "n": shifted[1]}),
        make_run("two", {"m": shifted[2], "n": shifted[3]}),
    )
    compared = [cell for column in comparison.columns for cell in column.cells if cell.difference]
    assert [cell.difference.p_holm for cell in compared] == holm([cell.difference.p_value for cell in compared])
    assert [cell.difference.significant for cell in compared] == [cell.difference.p_holm <= 0.05 for cell in compared]
    assert {cell.difference.significant for cell in compared} == {True, False}


def seeds(make_run, name, shifts):
    return [make_run(f"{name}@{n}", {"m": {id: v + shift for id, v in LOW.items()}}) for n, shift in enumerate(shifts)]


def test_runs_that_differ_in_their_seed_are_one_arm(make_run):
    shifts = [0.1, 0.3, 0.2]
    comparison = compare(make_run("base", {"m": LOW}), *seeds(make_run, "tuned", shifts))
    tuned = cells(comparison, "m")["tuned"]
    assert comparison.runs == ("base", "tuned")
    assert comparison.fine_tunings["tuned"] == ("tuned@0", "tuned@1", "tuned@2")
    assert (tuned.scored, tuned.rank, tuned.first) == (120, 1.0, 1.0)
    assert tuned.difference.estimate.mean == pytest.approx(0.2)
    low, high = tuned.difference.estimate.interval  # prompts do not differ, so only seeds tell how sure this is
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, loc=0.2, scale=stats.sem(shifts)))
    assert comparison.notes == ("base: one run each; how much another seed would change them is in no interval.",)


def test_an_arm_may_be_the_baseline_by_its_name_or_by_one_of_its_runs(make_run):
    paths = [make_run("base", {"m": LOW}), *seeds(make_run, "tuned", [0.1, 0.3])]
    for baseline in ("tuned", "tuned@1"):
        comparison = compare(*paths, baseline=baseline)
        assert comparison.baseline == "tuned"
        assert cells(comparison, "m")["base"].difference.estimate.mean == pytest.approx(-0.2)


def test_a_seed_that_is_not_judged_like_the_others_keeps_its_arm_from_comparing(make_run):
    odd = make_run("tuned@9", {"m": HIGH}, m={"settings": "s0"})
    comparison = compare(make_run("base", {"m": LOW}), *seeds(make_run, "tuned", [0.1, 0.3]), odd)
    assert not cells(comparison, "m")["tuned"].compared
    assert "m: tuned@9 does not compare with base: other settings." in comparison.notes


def test_a_seed_without_scores_is_named(make_run):
    failed = make_run("tuned@9", {"m": {}}, m={"not_run": "no memory"})
    comparison = compare(make_run("base", {"m": LOW}), *seeds(make_run, "tuned", [0.1, 0.3]), failed)
    tuned = cells(comparison, "m")["tuned"]
    assert (tuned.compared, tuned.not_run, tuned.scored) == (True, None, 80)
    assert "m: tuned stands without tuned@9, which has no scores." in comparison.notes


def arms_in(*paths):
    places = [Path(path) for path in paths]
    return arms_of([Run(name, place, {}, {}) for name, place in zip(name_runs(places), places, strict=True)])


def test_arms_are_told_by_the_last_part_of_the_path():
    assert arms_in("x@1/qwen", "x@2/qwen", "a/qwen@1", "a/qwen", "b/qwen@1") == {
        "x@1/qwen": ("x@1/qwen",),
        "x@2/qwen": ("x@2/qwen",),
        "a/qwen": ("a/qwen@1", "a/qwen"),
        "b/qwen@1": ("b/qwen@1",),
    }


def test_runs_of_two_experiments_with_one_name_are_two_arms():
    """Their names alone, qwen@1 to qwen@4, would make one arm of them."""
    assert arms_in("old/qwen@1", "old/qwen@2", "new/qwen@3", "new/qwen@4") == {
        "old/qwen": ("qwen@1", "qwen@2"),
        "new/qwen": ("qwen@3", "qwen@4"),
    }
    assert arms_in("old/qwen@1", "new/qwen@2") == {"qwen@1": ("qwen@1",), "qwen@2": ("qwen@2",)}


def test_copies_of_one_fine_tuning_are_no_seeds(make_run):
    """Two copies and a third would be an arm of three, with an interval much too narrow."""
    paths = [make_run(f"tuned@{n}", {"m": LOW}, adapter=adapter) for n, adapter in enumerate(["a1", "a2", "a1"])]
    with pytest.raises(UserError, match=r"tuned@0 and .*tuned@2 have the same adapter \(a1\): one fine-tuning"):
        compare(*paths)
    assert compare(*paths[:2]).runs == ("tuned",)
    other = make_run("asked otherwise", {"m": LOW}, adapter="a1")  # of another arm, which may well have it
    assert compare(*paths[:2], other).runs == ("tuned", "asked otherwise")


def test_runs_without_an_adapter_may_be_samples_of_one_model(make_run):
    assert compare(make_run("base@1", {"m": LOW}), make_run("base@2", {"m": HIGH})).runs == ("base",)


def test_an_adapter_that_is_no_digest_is_an_error(make_run):
    path = make_run("base", {"m": LOW}) / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"adapter": ["a1"]}))
    with pytest.raises(UserError, match="field 'adapter' should be a valid string"):
        load_runs([path.parent])


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


def test_runs_are_named_by_as_much_of_their_path_as_it_takes(tmp_path):
    paths = [tmp_path / part for part in ("x/a/qwen", "y/a/qwen", "b/qwen", "mistral")]
    assert name_runs(paths) == ["x/a/qwen", "y/a/qwen", "b/qwen", "mistral"]


def test_names_are_printable(tmp_path):
    assert name_runs([tmp_path / "red\x1b[31m\nrun"]) == ["red\\x1b[31m run"]


def test_a_run_named_twice_is_an_error(tmp_path):
    with pytest.raises(UserError, match="named twice"):
        name_runs([tmp_path / "a", tmp_path / "b" / ".." / "a"])


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("seeds", [[""], ["@1", "@2"]])
def test_answers_to_one_prompt_are_no_independent_draws_whatever_their_ids(make_run, tmp_path, seeds, recorded):
    """Each prompt thrice, under ids with dots and dashes that mean nothing: intervals as if it stood there once."""
    rng = np.random.default_rng(0)
    once = {f"{arm}{seed}": dict(zip(LOW, rng.normal(size=40), strict=True)) for arm in "ab" for seed in seeds}
    ids = {f"{n % 7}.{k}-{n}": id for n, id in enumerate(LOW) for k in range(3)}
    paths = []
    for name, scores in once.items():
        again = {id: scores[prompt] for id, prompt in ids.items()}
        paths.append(make_run(name, {"harmless": again}, responses=dict.fromkeys(ids, "No."), adapter=name))
        rows = [row for _, row in jsonl.read_lines(paths[-1] / "responses.jsonl")]
        rows = [{**row, "prompt_id" if recorded else "prompt": ids[row["id"]]} for row in rows]
        jsonl.write(paths[-1] / "responses.jsonl", rows)
    singles = [make_run(f"once/{name}", {"harmless": scores}, adapter=name) for name, scores in once.items()]
    for found, wanted in zip(
        cells(compare(*paths, baseline="a" + seeds[0]), "harmless").values(),
        cells(compare(*singles, baseline="a" + seeds[0]), "harmless").values(),
        strict=True,
    ):
        near = partial(pytest.approx, abs=0.03)  # what is resampled depends on the order of the prompts
        assert found.estimate.interval == near(wanted.estimate.interval)
        assert found.first == near(wanted.first)
        if wanted.difference:
            assert found.difference.estimate.interval == near(wanted.difference.estimate.interval)
            assert found.difference.p_value == near(wanted.difference.p_value)
