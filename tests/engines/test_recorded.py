"""The recorded engine answers a prompt with what stands beside it."""

import asyncio
import json

import pytest
import torch

from cai_lightning.engines import RecordedEngine
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "revisions.jsonl"
    rows = [{"prompt": "a?", "revision": "A.", "initial_response": "no"}, {"prompt": "b?", "revision": "B."}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(engine, text):
    engine.start(torch.device("cpu"))
    reply = asyncio.run(engine.reply([user(text)] if isinstance(text, str) else text, "seed"))
    engine.stop()
    return reply


def test_it_answers_what_is_recorded(path):
    reply = ask(RecordedEngine(path), "b?")
    assert (reply.text, reply.finish_reason, reply.tokens) == ("B.", "unknown", 0)
    assert RecordedEngine(path).model == f"{path}:revision"


def test_the_answer_of_a_round_is_named_by_its_path(path):
    rows = [{"prompt": "a?", "rounds": [{"revision": "first"}, {"revision": "second"}]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [ask(RecordedEngine(path, f"rounds.{turn}.revision"), "a?").text for turn in (0, 1)]
    assert answers == ["first", "second"]
    for field in ("rounds.2.revision", "rounds.-1.revision", "rounds.revision", "rounds.0", "prompt.0"):
        with pytest.raises(UserError, match=f"line 1: field '{field}' shall be a text"):
            ask(RecordedEngine(path, field), "a?")


def test_transcripts_are_told_apart_and_the_first_sample_counts(path):
    talks = [[user(first), assistant("And?"), user("Go on.")] for first in ("one", "two")]
    rows = [{"prompt": "Go on.", "turns": talk, "revision": talk[0]["content"]} for talk in talks]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {**rows[0], "revision": "a further sample"}]))
    assert [ask(RecordedEngine(path), talk).text for talk in talks] == ["one", "two"]
    with pytest.raises(UserError, match=r"no answer to the prompt 'Go on\.'"):
        ask(RecordedEngine(path), "Go on.")


def test_what_is_not_there_is_said(path, tmp_path):
    with pytest.raises(UserError, match=r"no answer to the prompt 'c\?'"):
        ask(RecordedEngine(path), "c?")
    with pytest.raises(UserError, match="line 2: field 'initial_response' shall be a text, found None"):
        ask(RecordedEngine(path, "initial_response"), "a?")
    with pytest.raises(UserError, match="no such file"):
        ask(RecordedEngine(tmp_path / "absent"), "a?")
