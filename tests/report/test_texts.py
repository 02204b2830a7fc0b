"""The texts of a run: those of its adapter, and malformed rows are clear errors."""

from pathlib import Path

import pytest

from cai_lightning import journal
from cai_lightning.errors import UserError
from cai_lightning.report.runs import Run
from cai_lightning.report.texts import read_texts

RESPONSE = {"id": "0a", "prompt": "p", "response": "r", "reference": None, "finish_reason": "stop", "model": "m"}
REVISION = {"id": "0a", "prompt": "p", "initial_response": "i", "revision": "r2", "critique": "c"}


def run(responses):
    return Run("run", Path("run"), {"metrics": {}}, {}, responses={row["id"]: row for row in responses})


def test_responses_of_the_run_and_all_revisions(tmp_path):
    journal.write(tmp_path / "revisions.jsonl", [REVISION])
    texts = read_texts(tmp_path, run([RESPONSE]))
    assert texts.responses["0a"].response == "r"
    assert texts.revisions["0a"].rounds[0].critique == "c"


def test_a_run_without_files_has_no_texts(tmp_path):
    texts = read_texts(tmp_path, run([]))
    assert (texts.responses, texts.revisions) == ({}, {})


def test_unknown_fields_do_no_harm(tmp_path):
    rows = [{"id": "0a", "prompt": "p", "response": "r", "new": 1}]
    assert read_texts(tmp_path, run(rows)).responses["0a"].response == "r"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference", 5),
        ("category", ["violence"]),
        ("model", {}),
        ("finish_reason", 1),
        ("turns", "hello"),
        ("turns", [{"role": "constructor", "content": "x"}]),
        ("turns", [{"role": ["user"], "content": "x"}]),
        ("turns", [{"role": "user", "content": None}]),
    ],
)
def test_a_field_of_another_kind_is_named(tmp_path, field, value):
    with pytest.raises(UserError, match=rf"responses\.jsonl, id 0a: '{field}' must be"):
        read_texts(tmp_path, run([RESPONSE | {field: value}]))


@pytest.mark.parametrize("similarity", [float("nan"), float("inf"), "0.5"])
def test_a_similarity_that_is_no_number_is_named(tmp_path, similarity):
    journal.write(tmp_path / "revisions.jsonl", [REVISION | {"similarity": similarity}])
    with pytest.raises(UserError, match="'similarity' must be a number or null"):
        read_texts(tmp_path, run([]))


@pytest.mark.parametrize("row", [RESPONSE | {"response": None}, {"id": "0a", "response": "r"}])
def test_a_malformed_response_is_named(tmp_path, row):
    with pytest.raises(UserError, match=r"responses\.jsonl, id 0a: '(response|prompt)' must be a text"):
        read_texts(tmp_path, run([row]))
