"""What a run has revised; a malformed revision is a clear error."""

import pytest

from cai_lightning.report.corpora import read_rows
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError

REVISION = {"id": "0a", "prompt": "p", "initial_response": "i", "revision": "r2", "critique": "c"}


def test_rows_are_found_by_the_ids_of_their_prompts(tmp_path):
    jsonl.write(tmp_path / "revisions.jsonl", [REVISION])
    assert read_rows(tmp_path)["0a"].rounds[0].critique == "c"


def test_a_run_without_revisions_has_no_rows(tmp_path):
    assert read_rows(tmp_path) == {}


@pytest.mark.parametrize("similarity", [float("nan"), float("inf"), "0.5"])
def test_a_similarity_that_is_no_number_is_named(tmp_path, similarity):
    jsonl.write(tmp_path / "revisions.jsonl", [REVISION | {"similarity": similarity}])
    with pytest.raises(UserError, match=r"field 'similarity' should be a (valid|finite) number"):
        read_rows(tmp_path)
