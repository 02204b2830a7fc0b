"""A preference is read back as it was written, and its probability is the mean over principles, orders and readings."""

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.callbacks.recording import FILES, merge_records
from cai_lightning.data.labelled import Label, Pair, Preference, Reading
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import Failure, to_json

PAIR = Pair("0f.p0", "Hi", "Hello.", "Yes?", ["stop", "length"], "tiny", None, "Scripted", {"top_p": 1.0}, 42, "now")
LABEL = Label("p", [Reading(0.75, 0.5)], [Reading(0.5, 1.0, "Hm.")])
PREFERENCE = Preference(**vars(PAIR), labels=[LABEL], feedback={"model": "tiny"}, constitution={"name": "x"})

probabilities = st.floats(0, 1)
readings = st.lists(st.builds(Reading, probabilities, probabilities), min_size=1, max_size=5)
labels = st.builds(Label, st.sampled_from("pqr"), readings, readings)


@pytest.mark.parametrize("row", [PAIR, PREFERENCE, replace(PREFERENCE, labels=[], few_shots={"name": "y"})])
def test_a_row_survives_its_file(tmp_path, row):
    path = tmp_path / FILES[type(row)]
    path.write_text(to_json(row) + "\n")
    assert list(read_records(path, type(row)).values()) == [row]
    assert "few_shots" not in to_json(PREFERENCE)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("labels", 0, "first_shown_first"), [], r"labels\[0\].first_shown_first' should have at least 1 item"),
        (("labels", 0, "first_shown_first", 0, "share"), 1.5, "share' should be less than or equal to 1, found 1.5"),
        (("labels", 0, "first_shown_first", 0, "mass"), "0.5", "mass' should be a valid number, found '0.5'"),
        (
            ("labels", 0, "first_shown_first", 0, "sugar"),
            1,
            r"unknown field 'labels\[0\].first_shown_first\[0\].sugar'",
        ),
        (("finish_reasons",), ["stop"], "finish_reasons' should have at least 2 items"),
        (("first",), None, "first' should be a valid string, found None"),
    ],
)
def test_a_row_that_somebody_has_changed_is_refused(tmp_path, path, value, message):
    row = asdict(PREFERENCE)
    inner = row
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    file = tmp_path / "preferences.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=f"line 1: .*{message}"):
        read_records(file, Preference)


@given(st.lists(labels, max_size=4))
def test_the_probability_is_the_mean_over_principles_of_the_mean_over_orders(found):
    by_principle = []
    for label in found:
        forth = [reading.share for reading in label.first_shown_first]
        back = [1 - reading.share for reading in label.second_shown_first]
        by_principle.append(0.5 * (sum(forth) / len(forth) + sum(back) / len(back)))
    expected = sum(by_principle) / len(by_principle) if found else 0.5
    assert replace(PREFERENCE, labels=found).probability == pytest.approx(expected, abs=1e-12)


@given(labels)
def test_swapping_mirrors_the_probability_and_leaves_the_position_bias(label):
    swapped = Label(label.principle_id, label.second_shown_first, label.first_shown_first)
    assert swapped.probability == pytest.approx(1 - label.probability, abs=1e-12)
    assert swapped.position_bias == pytest.approx(label.position_bias, abs=1e-12)
    assert abs(label.position_bias) <= 0.5


def test_a_pair_that_has_its_labels_waits_no_longer_and_one_that_failed_has_not_failed(tmp_path):
    waiting = replace(PAIR, id="0f.p1")
    failures = [Failure(id, "Hi", "label 1", "busy", "now") for id in (PAIR.id, waiting.id)]
    for kind, rows in ((Pair, [waiting, PAIR]), (Preference, [PREFERENCE]), (Failure, failures)):
        with jsonl.JournalWriter(tmp_path / FILES[kind]) as journal:
            for row in rows:
                journal.append(row)
    merge_records(tmp_path, (Preference, Pair, Failure), [PAIR.id, waiting.id])
    left = {kind: list(jsonl.read(tmp_path / FILES[kind])) for kind in (Preference, Pair, Failure)}
    assert left == {Preference: [PAIR.id], Pair: [waiting.id], Failure: [waiting.id]}
