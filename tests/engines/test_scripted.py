"""The scripted engine says what it is told to."""

import asyncio

import torch

from cai_lightning.engines import ScriptedEngine
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
