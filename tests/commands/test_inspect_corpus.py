"""Corpora are read as they lie there: finished or growing, ours or foreign; what is wrong is named with its line."""

import io
import json

import pytest
from rich.console import Console

from cai_lightning.commands.inspect.command import conversation
from cai_lightning.commands.inspect.figures import inspect_corpus
from cai_lightning.report.corpora import read_corpora
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import prompt_id

ROUND = {"principle_id": "harm", "similarity": 0.5, "principle_used": "Is it harmful?", "revision_request": "Rewrite."}
ROW = {
    "id": "a1",
    "prompt": "How?",
    "initial_response": "So.",
    "rounds": [{**ROUND, "critique": "It is.", "revision": "No."}],
    "revision": "No.",
    "finish_reasons": ["stop", "stop", "length"],
    "model": "m",
}
FOREIGN = {
    "prompt": "How?",
    "initial_response": "So.",
    "principle_used": "Is it?",
    "critique": "Yes.",
    "revision": "No.",
}


@pytest.fixture
def write(tmp_path):
    def write(*rows, name="run/revisions.jsonl", end="\n"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + end)
        return path

    return write


def test_our_rows_are_read_with_their_rounds(write):
    (corpus,) = read_corpora([write(ROW).parent])
    (row,) = corpus.rows
    assert (corpus.name, corpus.failed, corpus.lacking) == ("run", 0, ())
    assert row.replies == {"response": "So.", "critique 1": "It is.", "revision 1": "No."}
    assert row.endings == {"response": "stop", "critique 1": "stop", "revision 1": "length"}


def test_a_direct_revision_has_no_critique(write):
    direct = {**ROW, "rounds": [{**ROUND, "critique": None, "revision": "No."}], "finish_reasons": ["stop", "stop"]}
    (corpus,) = read_corpora([write(direct)])
    assert list(corpus.rows[0].replies) == ["response", "revision 1"]


def test_a_growing_run_is_read_from_all_its_files_without_the_torn_line(write):
    write({**ROW, "id": "a1", "revision": "old"})
    write({**ROW, "id": "a1"}, {**ROW, "id": "a2"}, '{"id": "a3", "pro', name="run/revisions.rank0.jsonl", end="")
    path = write({**ROW, "id": "a4"}, name="run/revisions.rank1.jsonl")
    (corpus,) = read_corpora([path.parent])
    assert [row.id for row in corpus.rows] == ["a1", "a2", "a4"]
    assert corpus.rows[0].revision == "No."


def test_failed_rows_count_until_they_are_made(write):
    write({"id": "a1", "reason": "timeout"}, {"id": "b", "reason": "timeout"}, name="run/failed.jsonl")
    write({"id": "b", "reason": "again"}, {"id": "c", "reason": "500"}, name="run/failed.rank0.jsonl")
    (corpus,) = read_corpora([write(ROW)])
    assert corpus.failed == 2


def test_a_foreign_corpus_is_read_by_its_prompts_and_says_what_it_lacks(write):
    other = {**FOREIGN, "revision": "Never."}
    path = write(FOREIGN, other, {**FOREIGN, "prompt": "Why?"}, FOREIGN, name="elsewhere.jsonl")
    (corpus,) = read_corpora([path])
    assert corpus.name == "elsewhere.jsonl"
    assert [row.id for row in corpus.rows] == [prompt_id("How?"), prompt_id("How?", 2), prompt_id("Why?")]
    assert corpus.rows[0].rounds[0].principle_id == "Is it?"
    assert corpus.repeated == 1
    assert [lacking.partition(":")[0] for lacking in corpus.lacking] == ["no ids", "no finish reasons", "no rounds"]


def test_a_given_file_keeps_every_answer_and_groups_them_by_their_prompt(write):
    """Such as the files of two seeds, one behind the other; whatever their ids are."""
    path = write(
        *({**ROW, "revision": revision} for revision in ("No.", "Never.", "No.")),
        {**ROW, "id": "a1.2-x", "revision": "Not now."},
        {**ROW, "id": "b", "prompt": "Why?"},
        {**ROW, "id": "c", "prompt_id": "d"},
        {**ROW, "id": "d.1", "prompt_id": "d"},
        name="both.jsonl",
    )
    (corpus,) = read_corpora([path])
    assert [row.id for row in corpus.rows] == ["a1", "a1", "a1.2-x", "b", "c", "d.1"]
    inspection = inspect_corpus(corpus)
    assert inspection.prompts.tolist() == [0, 0, 0, 1, 2, 2]
    assert inspection.places.keys() == {("a1", 0), ("a1", 1), ("a1.2-x", 0), ("b", 0), ("c", 0), ("d.1", 0)}
    assert corpus.repeated == 1


def test_the_least_that_a_corpus_has(write):
    (corpus,) = read_corpora([write({"prompt": "How?", "initial_response": "So.", "revision": "No."})])
    assert list(corpus.rows[0].replies) == ["response", "revision 1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"id": "a2"', "not JSON"),
        ("[]", "expected a JSON object"),
        ({"id": "a2", "prompt": "How?"}, "no 'revision' in this row"),
        ({"id": "a2", "prompt": "How?", "revision": "No."}, "no 'initial_response' in this row"),
        ({**ROW, "revision": None}, "field 'revision' should be a valid string, found None"),
        ({**ROW, "id": 7}, "field 'id' should be a valid string, found 7"),
        ({**ROW, "rounds": []}, "field 'rounds' should have at least 1 item"),
        ({**ROW, "rounds": [{"critique": "It is."}]}, "no 'rounds[0].revision' in this row"),
        ({**ROW, "rounds": [{**ROUND, "similarity": "high", "revision": ""}]}, "'rounds[0].similarity' should be a"),
        ({**ROW, "finish_reasons": "stop"}, "field 'finish_reasons' should be a valid array"),
        ({**ROW, "finish_reasons": ["stop"]}, "1 'finish_reasons' for 3 replies"),
        ({**ROW, "turns": [{"role": "user"}]}, "no 'turns[0].content' in this row"),
    ],
)
def test_a_broken_line_is_named(write, row, message):
    path = write(ROW, row)
    with pytest.raises(UserError, match="line 2") as error:
        read_corpora([path.parent])
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"), [("absent", "absent: no revisions there"), ("", "revisions.jsonl: no rev")]
)
def test_a_run_that_is_not_there_is_named(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        read_corpora([tmp_path / name])


def test_an_empty_file_and_a_run_named_twice_are_errors(write):
    with pytest.raises(UserError, match="holds no revisions"):
        read_corpora([write(end="")])
    path = write(ROW)
    with pytest.raises(UserError, match="named twice"):
        read_corpora([path, path.parent])


def test_thoughts_are_read_from_their_field_and_out_of_old_texts(tmp_path):
    turn = {"principle_id": "law", "similarity": None, "principle_used": "Legal?", "revision_request": "Mend."}
    rounds = [
        turn | {"critique": f"{'<think>C.</think>' if old else ''}It is not.", "revision": "No."} for old in (0, 1)
    ]
    row = {"prompt": "How?", "initial_response": "<think>R.</think>\n\nSure.", "revision": "No."}
    recorded = {"id": "b", "finish_reasons": ["stop"] * 3, "thoughts": [None, "C.", None], **row, "rounds": rounds[:1]}
    jsonl.write(tmp_path / "revisions.jsonl", [{"id": "a", **row, "rounds": rounds[1:]}, recorded])
    (corpus,) = read_corpora([tmp_path])
    for parsed in corpus.rows:
        assert parsed.thoughts == {"response": "R.", "critique 1": "C."}
        assert parsed.replies == {"response": "Sure.", "critique 1": "It is not.", "revision 1": "No."}
    said = Console(width=100, file=io.StringIO(), color_system=None)
    said.print(conversation(corpus.rows[0], "run"))
    lines = [line.strip() for line in said.file.getvalue().splitlines()]
    assert lines[lines.index("Thought before critique 1") + 1] == "C."


@pytest.mark.parametrize(
    ("thoughts", "message"),
    [(["a"], "1 'thoughts' for 3 replies"), (["a", 1, None], r"field 'thoughts\[1\]' should be a valid string")],
)
def test_thoughts_that_fit_no_replies_are_an_error(tmp_path, thoughts, message):
    turn = {"critique": "Bad.", "revision": "No."}
    row = {"id": "a", "prompt": "How?", "initial_response": "Sure.", "revision": "No.", "rounds": [turn]}
    jsonl.write(tmp_path / "revisions.jsonl", [row | {"thoughts": thoughts}])
    with pytest.raises(UserError, match=message):
        read_corpora([tmp_path])
