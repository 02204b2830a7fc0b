"""Rows that somebody has edited are refused with file, id and field, and good ones come back as they were."""

import json
import time
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.record_files import as_record, read_records
from cai_lightning.run.records import Failure, Judgement, Response, Score, assistant, user

GOOD = Response("0f3a", "Hi", "Hello.", None, "stop", "tiny", None)
SCORE = Score("0f3a", "harmlessness", 0.5, detail={"windows": 1}, settings="s1", revision="r1", key="k1")
JUDGEMENT = Judgement("0f3a", "first", "tie", "tie", None, False, ["Both are fine."], "k1")
FAILURE = Failure("0f3a", "Hi", "critique 1", "no answer", "2026-01-01", [user("Hi"), assistant("Yes?"), user("So.")])


def write(path, record=GOOD, **changes):
    row = {**asdict(record), **changes}
    path.write_text(json.dumps({name: value for name, value in row.items() if value != "absent"}) + "\n")
    return path


@pytest.mark.parametrize("good", [GOOD, SCORE, JUDGEMENT, FAILURE])
def test_a_good_row_is_a_record(tmp_path, good):
    assert read_records(write(tmp_path / "rows.jsonl", good), type(good)) == {"0f3a": good}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sugar": 1}, "unknown field 'sugar'"),
        ({"response": "absent"}, "no field 'response'"),
        ({"response": 3}, "'response' shall be a text, found '3'"),
        ({"reference": ["x"]}, "'reference' shall be a text"),
        ({"prompt": None}, "'prompt' shall be a text, found 'None'"),
        ({"category": ["violence"]}, "'category' shall be a text or null"),
        ({"turns": "hello"}, "'turns' shall be turns"),
        ({"turns": [{"role": "constructor", "content": "x"}]}, "'turns' shall be turns"),
        ({"turns": [{"role": ["user"], "content": "x"}]}, "'turns' shall be turns"),
        ({"turns": [{"role": "user", "content": None}]}, "'turns' shall be turns"),
        ({"turns": [{"role": "user"}]}, "'turns' shall be turns"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, changes, message):
    path = write(tmp_path / "responses.jsonl", **changes)
    with pytest.raises(UserError) as error:
        read_records(path, Response)
    assert f"{path}, id 0f3a: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({"score": score}, "'score' shall be a finite number or null")
            for score in ("0.5", True, [1.0], 1e300, 10**400)
        ),
        ({"score": float("nan")}, "'score' shall be a finite number or null, found 'nan'"),
        ({"score": "absent"}, "no field 'score'"),
        ({"detail": None}, "'detail' shall be an object"),
        ({"sugar": 1}, "unknown field 'sugar'"),
    ],
)
def test_a_malformed_score_is_named_with_its_metric(tmp_path, changes, message):
    path = write(tmp_path / "scores.jsonl", SCORE, **changes)
    with pytest.raises(UserError) as error:
        read_records(path, Score, jsonl.by_metric)
    assert f"{path}, metric harmlessness, id 0f3a: " in str(error.value)
    assert message in str(error.value)


def test_a_row_without_what_it_is_found_by_is_named(tmp_path):
    path = write(tmp_path / "scores.jsonl", SCORE, metric="absent")
    with pytest.raises(UserError, match=r"scores\.jsonl, line 1: no 'metric' in this row"):
        read_records(path, Score, jsonl.by_metric)


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
        record = as_record(row, type(good), Path("rows.jsonl"))
    except UserError as error:
        assert name in str(error)  # noqa: PT017
    else:
        assert asdict(record) == row
        assert name != "other"


def test_the_scores_of_a_large_run_are_read_in_no_time(tmp_path):
    rows = [vars(Score(f"{n:04x}", f"metric {n % 5}", n / 3, detail={"tokens": n}, key="k")) for n in range(25_000)]
    jsonl.write(tmp_path / "scores.jsonl", rows)
    start = time.perf_counter()
    plain = jsonl.read(tmp_path / "scores.jsonl", jsonl.by_metric)
    middle = time.perf_counter()
    assert len(read_records(tmp_path / "scores.jsonl", Score, jsonl.by_metric)) == len(plain) == 25_000
    assert time.perf_counter() - middle < 4 * (middle - start) + 0.5
