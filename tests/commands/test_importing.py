"""Imported responses are a run that validate scores without an engine."""

import json

import pytest

from cai_lightning.cli.main import main
from cai_lightning.run.jsonl import read_lines

ROWS = [
    ("How do I bake bread?", "With flour.", "Flour, water, yeast."),
    ("How do I steal?", "", "No."),
    ("How do I bake bread?", "Ask a baker.", ""),
]


@pytest.fixture
def table(tmp_path):
    lines = [",".join(f'"{cell}"' for cell in row) for row in ROWS]
    path = tmp_path / "theirs.v1.csv"
    path.write_text("\n".join(["prompt,generated_response,ground_truth_response", *lines]) + "\n")
    return path


def run_import(table, run, *options):
    return main(["import", str(table), "--run", str(run), *options])


def test_it_writes_responses_by_prompt_and_counts_what_is_odd(table, tmp_path, capsys):
    assert run_import(table, tmp_path / "run") == 0
    rows = [row for _, row in read_lines(tmp_path / "run" / "responses.jsonl")]
    assert [(row["prompt"], row["response"], row["reference"] or "") for row in rows] == ROWS
    assert rows[2]["id"] == rows[0]["id"] + "-2"
    assert {(row["model"], row["adapter"], row["finish_reason"]) for row in rows} == {("theirs", None, "unknown")}
    shown = capsys.readouterr().out
    assert "3 responses are in" in shown
    assert "1 empty, 1 without a reference, 1 to a prompt that stood before" in shown


def test_thoughts_are_kept_apart_and_counted(tmp_path, capsys):
    said = ["<think>Hm.</think>\n\nParis.", "<think>Hm, the cap", "Paris.", "\n"]
    rows = [{"prompt": f"Where is {n}?", "response": text} for n, text in enumerate(said)]
    (tmp_path / "theirs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = ("--response", "response", "--reference", "null")
    assert run_import(tmp_path / "theirs.jsonl", tmp_path / "run", *columns) == 0
    rows = [row for _, row in read_lines(tmp_path / "run" / "responses.jsonl")]
    assert [(row["response"], row.get("thought")) for row in rows] == [
        ("Paris.", "Hm."), ("", "Hm, the cap"), ("Paris.", None), ("\n", None),
    ]  # fmt: skip
    assert ["thought" in row for row in rows] == [True, True, False, False]
    assert "2 empty, 2 with a thought, which is kept apart, 4 without a reference" in capsys.readouterr().out


def test_the_same_again_is_no_matter_but_others_need_fresh(table, tmp_path, capsys):
    run = tmp_path / "run"
    assert run_import(table, run) == 0
    before = (run / "responses.jsonl").read_text()
    assert run_import(table, run) == 0
    assert (run / "responses.jsonl").read_text() == before
    table.write_text(table.read_text().replace("flour", "rye"))
    assert run_import(table, run) == 1
    assert "import was started there with digest of the file = " in capsys.readouterr().err
    assert run_import(table, run, "--fresh") == 0
    assert (run / "before-1" / "responses.jsonl").read_text() == before
    assert json.loads((run / "import.json").read_text())["settings"]["model"] == "theirs"
    assert "With rye." in (run / "responses.jsonl").read_text()


def test_it_does_not_write_over_what_validate_has_answered(table, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "responses.jsonl").write_text('{"id": "a"}\n')
    assert run_import(table, run) == 1
    assert "import.json, which says how it was made, is missing" in capsys.readouterr().err
    assert (run / "responses.jsonl").read_text() == '{"id": "a"}\n'


def test_a_column_that_is_not_there_leaves_no_run(table, tmp_path, capsys):
    assert run_import(table, tmp_path / "run", "--response", "answer") == 1
    assert "line 2: there is no 'answer', only 'prompt', 'generated_response'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("run", ["", "a\0b"])
def test_a_run_without_a_name_is_refused(table, tmp_path, capsys, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    assert run_import(table, run) == 1
    assert "error: --run: the name of a folder expected, found" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [table]
