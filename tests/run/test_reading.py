"""Rows that somebody has edited are refused with file, line and field, and good ones come back as they were."""

import json
import time
from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, read_records
from cai_lightning.run.records import Failure, Judgement, Response, Score, Turn, assistant, user

GOOD = Response("0f3a", "Hi", "Hello.", None, "stop", "tiny", None)
SCORE = Score("0f3a", "harmlessness", 0.5, detail={"windows": 1}, settings="s1", revision="r1", key="k1")
JUDGEMENT = Judgement("0f3a", "first", "tie", "tie", None, False, ["Both are fine."], "k1")
TURNS = [user("Hi"), assistant("Yes?"), user("So.")]
FAILURE = Failure("0f3a", "Hi", "critique 1", "no answer", "2026-01-01", turns=TURNS)


def write(path, record=GOOD, **changes):
    row = {**asdict(record), **changes}
    path.write_text(json.dumps({name: value for name, value in row.items() if value != "absent"}) + "\n")
    return path


def test_a_row_that_a_later_one_replaces_is_checked_as_well(tmp_path):
    path = write(tmp_path / "responses.jsonl", response=3)
    path.write_text(path.read_text() + json.dumps(asdict(GOOD)) + "\n")
    with pytest.raises(UserError, match="line 1: field 'response' should be a valid string, found 3"):
        read_records(path, Response)


@pytest.mark.parametrize("good", [GOOD, SCORE, JUDGEMENT, FAILURE])
def test_a_good_row_is_a_record(tmp_path, good):
    assert list(read_records(write(tmp_path / "rows.jsonl", good), type(good)).values()) == [good]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sugar": 1}, "unknown field 'sugar'"),
        ({"response": "absent"}, "no 'response' in this row"),
        ({"response": 3}, "field 'response' should be a valid string, found 3"),
        ({"reference": ["x"]}, "field 'reference' should be a valid string, found ['x']"),
        ({"prompt": None}, "field 'prompt' should be a valid string, found None"),
        ({"sample": True}, "field 'sample' should be a valid integer, found True"),
        ({"turns": "hello"}, "field 'turns' should be a valid array, found 'hello'"),
        ({"turns": [{"role": "bot", "content": "x"}]}, "'turns[0].role' should be 'system', 'user' or 'assistant'"),
        ({"turns": [{"role": ["user"], "content": "x"}]}, "field 'turns[0].role' should be"),
        ({"turns": [{"role": "user", "content": None}]}, "field 'turns[0].content' should be a valid string"),
        ({"turns": [{"role": "user"}]}, "no 'turns[0].content' in this row"),
        ({"turns": [{"role": "user", "content": "x", "name": "y"}]}, "unknown field 'turns[0].name'"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, changes, message):
    path = write(tmp_path / "responses.jsonl", **changes)
    with pytest.raises(UserError) as error:
        read_records(path, Response)
    assert f"{path}, line 1: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"score": score}, "field 'score' should be a valid number, found ") for score in ("0.5", True, [1.0])),
        *(
            ({"score": score}, "field 'score' should be a finite number, found ")
            for score in (float("nan"), float("inf"), 10**400)
        ),
        ({"score": 1e300}, "field 'score' should be less than or equal to"),
        ({"score": "absent"}, "no 'score' in this row"),
        ({"detail": None}, "'detail' should be an object"),
        ({"sugar": 1}, "unknown field 'sugar'"),
    ],
)
def test_a_malformed_score_is_named(tmp_path, changes, message):
    path = write(tmp_path / "scores.jsonl", SCORE, **changes)
    with pytest.raises(UserError) as error:
        read_records(path, Score)
    assert f"{path}, line 1: " in str(error.value)
    assert message in str(error.value)


def test_a_row_without_what_it_is_found_by_is_named(tmp_path):
    path = write(tmp_path / "scores.jsonl", SCORE, metric="absent")
    with pytest.raises(UserError, match=r"scores\.jsonl, line 1: no 'metric' in this row"):
        read_records(path, Score)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda some: st.lists(some, max_size=2) | st.dictionaries(st.text(max_size=3), some, max_size=2),
    max_leaves=4,
)


@given(good=st.sampled_from([GOOD, SCORE, JUDGEMENT, FAILURE]), changed=anything, data=st.data())
def test_whatever_stands_in_a_row_it_is_a_record_or_one_error(good, changed, data):
    name = data.draw(st.sampled_from([*(field.name for field in fields(good)), "other"]))
    row = {**asdict(good), name: changed}
    try:
        record = check(type(good), row, "rows.jsonl, line 1")
    except UserError as error:
        assert name in str(error)  # noqa: PT017
    else:
        assert asdict(record) == row
        assert name != "other"


def test_the_scores_of_a_large_run_are_read_in_no_time(tmp_path):
    rows = [vars(Score(f"{n:04x}", f"metric {n % 5}", n / 3, detail={"tokens": n}, key="k")) for n in range(25_000)]
    jsonl.write(tmp_path / "scores.jsonl", rows)
    start = time.perf_counter()
    plain = jsonl.read(tmp_path / "scores.jsonl")
    middle = time.perf_counter()
    assert len(read_records(tmp_path / "scores.jsonl", Score)) == len(plain) == 25_000
    assert time.perf_counter() - middle < 4 * (middle - start) + 0.5


def test_half_characters_are_replaced_and_counted(tmp_path, caplog):
    path = write(tmp_path / "responses.jsonl", response="a\ud800", prompt="\ud83d\ude00")
    assert read_records(path, Response)["0f3a"].response == "a\ufffd"
    assert f"{path}: 1 rows hold half a character" in caplog.text


def test_half_characters_are_told_of_once_and_by_the_first_process_alone(tmp_path, caplog, monkeypatch):
    path = write(tmp_path / "responses.jsonl", response="a\ud800")
    monkeypatch.setenv("LOCAL_RANK", "1")
    read_records(path, Response)
    assert not caplog.records
    monkeypatch.delenv("LOCAL_RANK")
    for _ in range(2):
        read_records(path, Response)
    assert len(caplog.records) == 1


def test_what_others_have_made_may_hold_more():
    turns = [{"role": "user", "content": "Hi", "name": "x"}]
    assert check(list[Turn], turns, "rows.jsonl, line 1") == [user("Hi")]
    with pytest.raises(UserError, match=r"rows.jsonl, line 1: field '\[0\].role' should be"):
        check(list[Turn], [{"role": "Human", "content": "Hi"}], "rows.jsonl, line 1")
