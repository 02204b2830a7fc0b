"""The scripted engine says what it is told to."""

import asyncio

import pytest
import torch

from cai_lightning.engines import Choice, ScriptedEngine
from cai_lightning.run.errors import ReplyError
from cai_lightning.run.records import user


def say(engine, *texts):
    engine.start(torch.device("cpu"))
    return [asyncio.run(engine.reply([user(text)], "seed")).text for text in texts]


def test_a_list_is_said_in_turn_and_over_again():
    engine = ScriptedEngine(["one", "two words"])
    assert say(engine, "a", "b", "c") == ["one", "two words", "one"]
    assert engine.asked == [[user("a")], [user("b")], [user("c")]]


def test_a_function_makes_its_reply_of_the_conversation():
    assert say(ScriptedEngine(lambda talk: talk[-1]["content"].upper()), "a") == ["A"]


def test_it_refuses_the_options_that_every_engine_refuses():
    with pytest.raises(ValueError, match="none of which begins another"):
        asyncio.run(ScriptedEngine(["Yes"]).choose([user("which?")], ["Yes", "Yesterday"]))


def test_it_chooses_what_it_says_next():
    engine = ScriptedEngine(["(B)", "neither"])
    engine.start(torch.device("cpu"))
    assert asyncio.run(engine.choose([user("which?")], ["(A)", "(B)"])) == Choice([0.0, 1.0], 1.0)
    with pytest.raises(ReplyError, match="which is none of"):
        asyncio.run(engine.choose([user("which?")], ["(A)", "(B)"]))
