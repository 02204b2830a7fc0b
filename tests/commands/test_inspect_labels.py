"""What `inspect` says of labels is what a plain loop over them finds, with intervals over prompts."""

import csv
import random
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.cli.main import main
from cai_lightning.commands.inspect.labels import FIGURES, LabelledRun, measure_labels
from cai_lightning.data.labelled import Label, Preference, Reading
from cai_lightning.run.records import prompt_id, to_json
from cai_lightning.statistics.agreement import alpha_with_interval

ROW = Preference(
    *("x.p0", "How?", "Yes.", "No!", ["stop", "length"], "policy", None, "E", {}, 42, "now"),
    labels=[],
    feedback={"model": "judge", "engine": "E", "chain_of_thought": 0},
    constitution={"name": "x", "digest": "d"},
)


def label(principle, forth, back, mass=0.9):
    return Label(principle, [Reading(forth, mass)], [Reading(back, mass)])


def row(prompt, number, *labels, first="Yes.", second="No!"):
    id = prompt_id(prompt)
    return replace(
        ROW, id=f"{id}.p{number}", prompt=prompt, prompt_id=id, labels=list(labels), first=first, second=second
    )


shares = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
made = st.lists(
    st.builds(
        row,
        st.sampled_from("abcdef"),
        st.integers(0, 99),
        st.builds(label, st.just("p"), shares, shares, shares),
        st.builds(label, st.just("q"), shares, shares, shares),
        first=st.sampled_from(["a", "bb", "ccc"]),
        second=st.sampled_from(["d", "ee"]),
    ),
    min_size=1,
    max_size=12,
)


@given(made)
def test_every_figure_is_the_mean_of_a_plain_loop(rows):
    found = measure_labels(LabelledRun("x", tuple(rows), 0))
    plain = {name: [] for name in FIGURES}
    for each in rows:
        halves = [
            (one.first_shown_first[0].share, one.second_shown_first[0].share, one.first_shown_first[0].mass)
            for one in each.labels
        ]
        p = sum((forth + 1 - back) / 2 for forth, back, _ in halves) / 2
        plain["confidence"].append(max(p, 1 - p))
        plain["undecided"].append(abs(p - 0.5) < 0.1)
        plain["mass"].append(sum(mass for *_, mass in halves) / 2)
        plain["little_mass"].append(sum(mass < 0.5 for *_, mass in halves) / 2)
        plain["position_bias"].append(sum((forth + back) / 2 - 0.5 for forth, back, _ in halves) / 2)
        side = lambda share: (share > 0.5) + (share == 0.5) / 2  # noqa: E731
        plain["orders_differ"].append(sum(abs(side(forth) - 1 + side(back)) for forth, back, _ in halves) / 2)
        ps = [side(one.probability) for one in each.labels]
        plain["principles_agree"].append(ps[0] == ps[1])
        plain["first"].append(side(each.probability))
        if len(each.first) != len(each.second):
            longer = p if len(each.first) > len(each.second) else 1 - p
            plain["longer_probability"].append(longer)
            plain["longer"].append(None)  # its side, see below
    for name, values in plain.items():
        if name == "longer" or not values:
            continue
        assert found[name].mean == pytest.approx(fmean(map(float, values)), abs=1e-9), name
        assert found[name].n == len(values)
    by_principle = np.array([[one.labels[n].probability for one in rows] for n in range(2)])
    numbers = {prompt: n for n, prompt in enumerate(dict.fromkeys(each.prompt for each in rows))}
    prompts = np.array([numbers[each.prompt] for each in rows])
    assert found["alpha"] == alpha_with_interval(by_principle, prompts)


def test_the_longer_response_is_told_apart_from_the_better_one():
    rows = (
        row("a", 0, label("p", 0.9, 0.1), first="long one", second="no"),
        row("b", 0, label("p", 0.9, 0.1), first="no", second="long one"),
        row("c", 0, label("p", 0.2, 0.8), first="no", second="long one"),
        row("d", 0, label("p", 0.9, 0.1), first="ab", second="cd"),
    )
    found = measure_labels(LabelledRun("x", rows, 0))
    assert (found["longer"].mean, found["longer"].n) == (pytest.approx(2 / 3), 3)


def test_a_model_that_takes_what_stands_first_is_told_and_its_labels_say_nothing():
    rows = tuple(row(str(n), 0, label("p", 0.9, 0.9)) for n in range(20))
    found = measure_labels(LabelledRun("x", rows, 0))
    assert found["position_bias"].mean == pytest.approx(0.4)
    assert found["orders_differ"].mean == 1.0
    assert found["undecided"].mean == 1.0


def test_pairs_of_one_prompt_are_no_independent_draws():
    draw = random.Random(0)
    shares = {prompt: draw.random() for prompt in "abcdefgh"}
    few = tuple(row(p, 0, label("p", s, 1 - s)) for p, s in shares.items())
    many = tuple(row(p, n, label("p", s, 1 - s)) for p, s in shares.items() for n in range(5))
    one, five = (measure_labels(LabelledRun("x", rows, 0))["confidence"] for rows in (few, many))
    assert (five.low, five.high) == (pytest.approx(one.low), pytest.approx(one.high))


@pytest.fixture
def runs(tmp_path):
    draw = random.Random(1)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rows = [row(str(n), 0, *(label(p, draw.random(), draw.random()) for p in "pq")) for n in range(9)]
        rows.append(row("same", 0, first="No!"))
        text = "".join(to_json(each) + "\n" for each in rows)
        (tmp_path / name / "preferences.jsonl").write_text(text)
    return [str(tmp_path / name) for name in ("one", "two")]


def test_runs_stand_side_by_side_and_in_files(runs, tmp_path, capsys):
    assert main(["inspect", *runs, "--output", str(tmp_path / "out"), "--sample", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("one two", "pairs 10 10", "identical, not asked about 1 1", "labels of a pair 2 2", "position bias"):
        assert words in shown
    assert "better with probability" in shown
    rows = list(csv.DictReader((tmp_path / "out" / "inspection.csv").read_text().splitlines()))
    assert {(r["run"], r["n"]) for r in rows if r["figure"] == "confidence"} == {("one", "9"), ("two", "9")}
    assert (tmp_path / "out" / "inspection.png").stat().st_size > 1000
    assert "# Labels" in (tmp_path / "out" / "inspection.md").read_text()


def test_one_pair_is_shown_by_its_id(runs, capsys):
    id = f"{prompt_id('3')}.p0"
    assert main(["inspect", runs[0], "--id", id]) == 0
    assert "Label by p" in capsys.readouterr().out
    assert main(["inspect", runs[0], "--id", "nowhere"]) == 1
    assert "--id nowhere: no pair of one has this id." in capsys.readouterr().err


def test_labels_and_revisions_are_not_compared(runs, tmp_path, capsys):
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "revisions.jsonl").write_text("")
    assert main(["inspect", runs[0], str(tmp_path / "three")]) == 1
    assert "it holds labels, which stand beside other runs of labels alone" in capsys.readouterr().err


def test_a_row_that_somebody_changed_is_named(runs, tmp_path, capsys):
    path = tmp_path / "one" / "preferences.jsonl"
    path.write_text(path.read_text().replace('"share": 0.', '"share": "0.', 1).replace(', "mass"', '", "mass"', 1))
    assert main(["inspect", runs[0]]) == 1
    assert "preferences.jsonl, line 1: field 'labels[0].first_shown_first[0].share'" in capsys.readouterr().err
