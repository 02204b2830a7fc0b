"""A row of revisions, ours or the original experiment's, with its replies in their order."""

import json

import pytest

from cai_lightning.data.corpus import parse_revision, read_revisions
from cai_lightning.run.errors import UserError

ROW = {"prompt": "How?", "initial_response": "Like this.", "revision": "No."}
ROUNDS = [{"critique": "a", "revision": "b"}, {"critique": None, "revision": "c"}, {"critique": "", "revision": "d"}]
STAGES = ["response", "critique 1", "revision 1", "revision 2", "critique 3", "revision 3"]


def parse(**fields):
    return parse_revision(json.dumps({**ROW, **fields}), "x")


def test_finish_reasons_and_thoughts_follow_the_replies():
    assert parse(rounds=ROUNDS, finish_reasons=STAGES).endings == dict(zip(STAGES, STAGES, strict=True))
    assert parse(rounds=ROUNDS).by_stage(STAGES) == dict(zip(STAGES, STAGES, strict=True))
    assert parse(rounds=ROUNDS).endings == dict.fromkeys(STAGES)
    with pytest.raises(UserError, match="x: 5 'finish_reasons' for 6 replies"):
        parse(rounds=ROUNDS, finish_reasons=STAGES[1:])


def test_a_row_without_rounds_is_itself_the_only_one():
    row = parse(critique="Bad.", finish_reasons=["stop", None, "length"])
    assert row.replies == {"response": "Like this.", "critique 1": "Bad.", "revision 1": "No."}
    assert list(row.endings.values()) == ["stop", None, "length"]
    assert list(parse(finish_reasons=["stop", "length"]).endings) == ["response", "revision 1"]


def test_only_what_stands_there_twice_to_the_letter_is_left_out(tmp_path):
    (tmp_path / "both.jsonl").write_text(
        "".join(
            f"{line}\n"
            for line in (
                json.dumps(ROW),
                json.dumps({**ROW, "seed": 2}),
                json.dumps(dict(reversed(ROW.items())), separators=(",", ":")),
                json.dumps({**ROW, "revision": "Never."}),
            )
        )
    )
    rows, repeated = read_revisions(tmp_path / "both.jsonl")
    assert [where.rpartition(" ")[2] for where, _ in rows] == ["1", "2", "4"]
    assert repeated == 1
