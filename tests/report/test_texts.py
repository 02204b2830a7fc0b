"""The texts of a run: its responses and its revisions; a malformed revision is a clear error."""

from pathlib import Path

import pytest

from cai_lightning.report.corpora import read_texts
from cai_lightning.report.runs import Run
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Response

RESPONSE = Response("0a", "p", "r", None, "stop", "m", None)
REVISION = {"id": "0a", "prompt": "p", "initial_response": "i", "revision": "r2", "critique": "c"}


def run(responses):
    return Run("run", Path("run"), {"metrics": {}}, {}, responses={one.id: one for one in responses})


def test_responses_of_the_run_and_all_revisions(tmp_path):
    jsonl.write(tmp_path / "revisions.jsonl", [REVISION])
    texts = read_texts(tmp_path, run([RESPONSE]))
    assert texts.responses["0a"].response == "r"
    assert texts.revisions["0a"].rounds[0].critique == "c"


def test_a_run_without_files_has_no_texts(tmp_path):
    texts = read_texts(tmp_path, run([]))
    assert (texts.responses, texts.revisions) == ({}, {})


@pytest.mark.parametrize("similarity", [float("nan"), float("inf"), "0.5"])
def test_a_similarity_that_is_no_number_is_named(tmp_path, similarity):
    jsonl.write(tmp_path / "revisions.jsonl", [REVISION | {"similarity": similarity}])
    with pytest.raises(UserError, match=r"field 'similarity' should be a (valid|finite) number"):
        read_texts(tmp_path, run([]))
