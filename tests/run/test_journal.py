"""A journal holds whole lines only, has one writer, and becomes one file whenever it was interrupted."""

import errno
import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai_lightning.run import files, jsonl
from cai_lightning.run.errors import UserError, WriteError
from cai_lightning.run.records import Response, Score
from cai_lightning.run.text import whole_characters

anything = st.text(st.characters(), max_size=10) | st.sampled_from(["\ud800", "a\u2028b\u2029\u0085", "\r\n\x00"])


def response(id, text="r"):
    return Response(id, "p", text, None, "stop", "m", None)


def append(path, *records, rank=0):
    with jsonl.JournalWriter(path, rank) as writer:
        for record in records:
            writer.append(record)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "responses.jsonl"


def ids(path):
    return [row["id"] for _, row in jsonl.read_lines(path)]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=50
)
@given(st.lists(anything, min_size=1, max_size=4))
def test_any_text_comes_back_as_one_line(tmp_path, texts):
    path = tmp_path / "any.jsonl"
    jsonl.rank_file(path, 0).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    append(path, *(response(str(n), text) for n, text in enumerate(texts)))
    for _ in range(2):
        assert [row["response"] for row in jsonl.read(path).values()] == whole_characters(texts)
        jsonl.merge(path)


def test_a_line_is_readable_as_soon_as_it_is_appended(path):
    with jsonl.JournalWriter(path) as writer:
        writer.append(response("a"))
        assert list(jsonl.read(path)) == ["a"]


@pytest.mark.parametrize("length", range(1, 40, 6))
def test_a_torn_last_line_is_cut_and_its_row_made_again(path, length):
    append(path, response("a"), response("b"))
    file = jsonl.rank_file(path, 0)
    file.write_bytes(file.read_bytes()[:-length])
    assert list(jsonl.read(path)) == ["a"]
    append(path, response("b", "again"))
    assert [(row["id"], row["response"]) for _, row in jsonl.read_lines(file)] == [("a", "r"), ("b", "again")]


@pytest.mark.parametrize("torn", [b"", b"{", b'{"id": "\xc3'])
def test_a_file_of_nothing_but_a_torn_line_is_empty(path, torn):
    path.parent.mkdir()
    jsonl.rank_file(path, 0).write_bytes(torn)
    append(path, response("a"))
    assert list(jsonl.read(path)) == ["a"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "b"', "not JSON"),
        (b"[1]", "expected a JSON object, found \\[1\\]"),
        (b"\xff\xfe\xfa", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"prompt": "p"}', "no 'id' in this row, which has prompt"),
        (b'{"id": [1]}', "no 'id' in this row, which has id, or none that is a text"),
    ],
)
def test_a_malformed_line_is_named(path, line, message):
    append(path, response("a"))
    file = jsonl.rank_file(path, 0)
    file.write_bytes(file.read_bytes() + line + b"\n" + file.read_bytes())
    with pytest.raises(UserError, match=message) as error:
        jsonl.read(path)
    assert f"{file}, line 2" in str(error.value)
    assert len(str(error.value)) < 500


def test_readers_see_all_ranks_and_the_final_file(path):
    append(path, response("a"), response("b"))
    jsonl.merge(path)
    append(path, response("c"), rank=0)
    append(path, response("d"), response("b", "new"), rank=1)
    assert {row["id"]: row["response"] for row in jsonl.read(path).values()} == {
        "a": "r", "b": "new", "c": "r", "d": "r",
    }  # fmt: skip


def test_a_file_may_be_merged_while_it_is_read(path, monkeypatch):
    append(path, response("a"))
    original = jsonl.lines

    def merge_first(file):
        monkeypatch.undo()
        jsonl.merge(path)
        return original(file)

    monkeypatch.setattr(jsonl, "lines", merge_first)
    assert list(jsonl.read(path)) == ["a"]


def test_merging_puts_rows_in_order_and_leaves_one_file(path):
    append(path, response("c"), response("x"))
    append(path, response("a"), response("b"), rank=1)
    assert jsonl.merge(path, order=["a", "b", "c"]) == 4
    assert ids(path) == ["a", "b", "c", "x"]
    assert jsonl.rank_files(path) == []


def test_merging_leaves_out_what_it_is_told_to_and_no_empty_file(path):
    append(path, response("a"), response("b"))
    assert jsonl.merge(path, without={"a"}) == 1
    assert ids(path) == ["b"]
    append(path, response("c"), rank=1)
    assert jsonl.merge(path, without={"b", "c"}) == 0
    assert not path.exists()
    assert jsonl.rank_files(path) == []


def test_merging_twice_or_after_a_kill_before_the_rank_files_went_changes_nothing(path):
    append(path, response("b"), response("a"))
    part = jsonl.rank_file(path, 0)
    left = part.read_bytes()
    jsonl.merge(path, order=["a", "b"])
    merged = path.read_bytes()
    part.write_bytes(left)
    assert jsonl.merge(path, order=["a", "b"]) == 2
    assert jsonl.merge(path, order=["a", "b"]) == 2
    assert path.read_bytes() == merged


def test_a_kill_before_the_rename_loses_nothing(path):
    append(path, response("a"))
    path.with_name(f".{path.name}.new").write_text('{"id": "half')
    assert jsonl.merge(path) == 1
    assert ids(path) == ["a"]


def test_of_a_rows_scores_the_last_counts(tmp_path):
    path = tmp_path / "scores.jsonl"
    append(path, Score("a", "m", None, "asleep"), Score("a", "other", 1.0), Score("b", "m", 2.0))
    jsonl.merge(path)
    append(path, Score("a", "m", 0.5))
    rows = jsonl.read(path)
    assert {key: row["score"] for key, row in rows.items()} == {
        ("a", "m"): 0.5, ("a", "other"): 1.0, ("b", "m"): 2.0,
    }  # fmt: skip


def test_a_second_writer_is_told_who_writes(path):
    code = "import sys, pathlib; from cai_lightning.run import jsonl; jsonl.JournalWriter(pathlib.Path(sys.argv[1]))"
    with jsonl.JournalWriter(path):
        other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        assert f"process {os.getpid()} is writing to this file" in other.stderr
        with (
            pytest.raises(UserError, match=f"process {os.getpid()} is writing"),
            files.locked(jsonl.rank_file(path, 0)),
        ):
            pass
        jsonl.JournalWriter(path, rank=1).close()
    with jsonl.JournalWriter(path) as again:
        again.append(response("a"))


def test_a_file_is_replaced_whole(tmp_path):
    jsonl.write(tmp_path / "rows.jsonl", [{"id": "é\ud800"}])
    assert json.loads((tmp_path / "rows.jsonl").read_bytes()) == {"id": "é\ud800"}
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def limited(code, *arguments):
    """Runs code in a process that may write no file of more than 4,096 bytes, as if the disk were full."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    load = "import sys, pathlib; from cai_lightning.run import files, jsonl; path = pathlib.Path(sys.argv[1])"
    script = f"{load}; {limit}\n{code}"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "summary.json"
    files.replace_text(path, "old")
    ended = limited("files.replace_text(path, 'x' * 5000)", path)
    assert f"cai_lightning.run.errors.WriteError: {path}: cannot be written (File too large); what" in ended.stderr
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_on_a_full_disk_whole_lines_are_kept_and_the_rest_is_made_again(path):
    code = """
from cai_lightning.run.records import Failure
with jsonl.JournalWriter(path) as writer:
    for number in range(100):
        writer.append(Failure(str(number), "p" * 100, "response", "why", "now"))
"""
    ended = limited(code, path)
    file = jsonl.rank_file(path, 0)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"cai_lightning.run.errors.WriteError: {file}: cannot be written")
    kept = list(jsonl.read(path))
    assert kept == [str(number) for number in range(len(kept))]
    assert 10 < len(kept) < 50
    append(path, response(str(len(kept))))
    assert ids(file) == [*kept, str(len(kept))]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    for write in (jsonl.JournalWriter, lambda path: files.replace_text(path, "x")):
        with pytest.raises(UserError, match=r"rows\.(rank0\.)?jsonl: cannot be written \(File exists\)"):
            write(tmp_path / "run" / "rows.jsonl")


def test_a_file_made_by_hand_is_read_to_its_end(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"}')
    assert list(jsonl.read(path)) == ["a", "b"]
    jsonl.merge(path)
    assert list(jsonl.read(path)) == ["a", "b"]


def test_a_file_that_is_being_written_is_not_merged(tmp_path):
    """A second run merges what a killed one has left, and must not take the file of one that lives."""
    path = tmp_path / "revisions.jsonl"
    with jsonl.JournalWriter(path) as writer:
        writer.append(response("a"))
        with pytest.raises(UserError, match=str(os.getpid())):
            jsonl.merge(path)
        writer.append(response("b"))
    assert jsonl.merge(path) == 2


def test_a_disk_too_full_for_the_lock_does_not_stay_locked(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(WriteError, match="No space left"):
            jsonl.JournalWriter(tmp_path / "a.jsonl")
    assert files.holder(tmp_path / "a.rank0.jsonl") is None
    jsonl.JournalWriter(tmp_path / "a.jsonl").close()
