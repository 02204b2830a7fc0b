"""Rows that somebody has edited are refused with file, id and field, and good ones come back as they were."""

import json
from dataclasses import asdict

import pytest

from cai_lightning.errors import UserError
from cai_lightning.record_files import read_records
from cai_lightning.records import Response

GOOD = Response("0f3a", "Hi", "Hello.", None, "stop", "tiny", None)


def write(path, **changes):
    row = {**asdict(GOOD), **changes}
    path.write_text(json.dumps({name: value for name, value in row.items() if value != "absent"}) + "\n")
    return path


def test_a_good_row_is_a_record(tmp_path):
    assert read_records(write(tmp_path / "responses.jsonl"), Response) == {"0f3a": GOOD}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sugar": 1}, "unknown field 'sugar'"),
        ({"response": "absent"}, "no field 'response'"),
        ({"response": 3}, "'response' shall be a text, found '3'"),
        ({"reference": ["x"]}, "'reference' shall be a text"),
        ({"prompt": None}, "'prompt' shall be a text, found 'None'"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, changes, message):
    path = write(tmp_path / "responses.jsonl", **changes)
    with pytest.raises(UserError) as error:
        read_records(path, Response)
    assert f"{path}, id 0f3a: " in str(error.value)
    assert message in str(error.value)
