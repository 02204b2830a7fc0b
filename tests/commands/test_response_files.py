"""Responses come whole from CSV and JSON Lines, and what is wrong with a row is said with its line."""

import csv
import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai_lightning.commands.importing import LONGEST_CELL, read_responses
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import number_ids

COLUMNS = {"prompt": "prompt", "response": "answer", "reference": "truth", "category": None}
texts = st.text(st.characters(exclude_categories=["Cs"]))
rows = st.lists(st.fixed_dictionaries({"prompt": texts.filter(str.strip), "answer": texts, "truth": texts}), min_size=1)


def as_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["prompt", "truth", "answer"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(rows=rows)
def test_any_text_stays_whole(tmp_path, rows):
    for path in (as_csv(tmp_path / "r.csv", rows), as_jsonl(tmp_path / "r.jsonl", rows)):
        read = read_responses(path, COLUMNS, "theirs")
        assert [(r.prompt, r.response, r.reference) for r in read] == [
            (row["prompt"], row["answer"], row["truth"] or None) for row in rows
        ]
        assert [r.id for r in read] == number_ids(row["prompt"] for row in rows)


def test_a_category_and_no_reference(tmp_path):
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"q": "Hi", "a": null, "kind": "theft"}\n'))
    (row,) = read_responses(path, {"prompt": "q", "response": "a", "reference": None, "category": "kind"}, "theirs")
    assert (row.response, row.reference, row.category) == ("", None, "theft")


def test_a_table_may_be_split_by_tabs_and_start_with_a_byte_order_mark(tmp_path):
    (tmp_path / "r.tsv").write_bytes("\ufeffprompt\tanswer\ttruth\r\nHi\tHo\t\r\n\r\n".encode())
    (row,) = read_responses(tmp_path / "r.tsv", COLUMNS, "theirs")
    assert (row.prompt, row.response, row.reference) == ("Hi", "Ho", None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=5)
@given(length=st.integers(131_000, 2_000_000), text=st.sampled_from(["x", 'a "quoted" word, ', "line\n", "\0"]))
def test_a_long_response_in_a_table_stays_whole(tmp_path, length, text):
    row = {"prompt": "Hi", "answer": (text * (length // len(text) + 1))[:length], "truth": ""}
    assert read_responses(as_csv(tmp_path / "r.csv", [row]), COLUMNS, "theirs")[0].response == row["answer"]


def test_a_cell_without_an_end_is_said_with_its_line(tmp_path):
    (tmp_path / "r.csv").write_text(HEAD + 'Hi,"Ho\n' + "x" * (LONGEST_CELL + 1))
    with pytest.raises(UserError, match=r"r\.csv, line 4: not CSV \(field larger than field limit \(16777216\)\)"):
        read_responses(tmp_path / "r.csv", COLUMNS, "theirs")


HEAD = 'prompt,answer,truth\n"two\nlines",a,b\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "prompt,answer\nHi,Ho\n",
            r"line 2: there is no 'truth', only 'prompt', 'answer'; name the column by --reference COLUMN, "
            "or --reference null where there is none",
        ),
        ("prompt,truth\nHi,Ho\n", r"line 2: there is no 'answer', only .*; name the column by --response COLUMN\."),
        (HEAD + "Hi,Ho\n", r"line 4: 2 cells, but line 1 names 3 columns: \['Hi', 'Ho'\]"),
        (HEAD + " ,Ho,x\n", r"line 4: the prompt \('prompt'\) is empty"),
        (HEAD + 'Hi,"Ho"!,x\n', r"line 4: not CSV"),
        (HEAD + 'Hi,"Ho,x\n', r"line 4: not CSV \(unexpected end of data\)"),
        ("prompt,answer,prompt\n", r"line 1: a column's name stands twice"),
        ("prompt,answer,truth\n", "there is no response in it"),
        ("", "there is no response in it"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(tmp_path, text, message):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(UserError, match=rf"r\.csv.*{message}"):
        read_responses(tmp_path / "r.csv", COLUMNS, "theirs")


@pytest.mark.parametrize("option", ["prompt", "response"])
def test_a_column_without_a_name_is_told_like_one_that_is_missing(tmp_path, option):
    (tmp_path / "r.csv").write_text(HEAD)
    with pytest.raises(UserError, match=f"there is no '', only .*; name the column by --{option} COLUMN"):
        read_responses(tmp_path / "r.csv", COLUMNS | {option: ""}, "theirs")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "Hi", "answer": 7, "truth": ""}', r"line 2: 'answer' must be a text, not 7"),
        ('{"prompt": "Hi"', r"line 2: not JSON"),
        ("[]", r"line 2: expected a JSON object"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_line(tmp_path, line, message):
    (tmp_path / "r.jsonl").write_text('{"prompt": "Hi", "answer": "", "truth": ""}\n' + line + "\n")
    with pytest.raises(UserError, match=rf"r\.jsonl, {message}"):
        read_responses(tmp_path / "r.jsonl", COLUMNS, "theirs")


def test_a_file_that_cannot_be_read_is_one_error(tmp_path):
    with pytest.raises(UserError, match=r"absent\.csv: cannot be read \(No such file"):
        read_responses(tmp_path / "absent.csv", COLUMNS, "theirs")
    (tmp_path / "latin.csv").write_bytes(b"prompt,answer,truth\nM\xfcll,a,b\n")
    with pytest.raises(UserError, match=r"latin\.csv: not UTF-8 from line 1 on"):
        read_responses(tmp_path / "latin.csv", COLUMNS, "theirs")
