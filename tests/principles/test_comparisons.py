"""Comparisons in front of a question: every layout says the same, the paper's are rendered to the byte."""

import json
from collections import Counter

import pytest

from cai_lightning.principles import wording
from cai_lightning.principles.preferences import Comparison, Comparisons, open_comparisons, open_preferences
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user

PRINCIPLES = open_preferences("default").principles
OURS = {"prompt": "May I?", "first": "Yes.", "second": "No!", "answer": "(A)", "thought": "(B) is rude."}
DIALOGUE = {"prompt": "\n\nHuman: May I?\n\nAssistant:", "corrects": ["Yes."], "incorrects": ["No!"]}
TEXT = (
    "\n\nHuman: Consider the following conversation between a human (H) and an assistant (A):\n\nH: May I?\n\n{}\n"
    " (A) [[[Yes.]]]\n (B) [[[No!]]]\n\nAssistant: Let's think step by step: (B) is rude.\n\nHuman:\n"
    "So the answer is: (A)"
)


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(content))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("content", "reasoned"),
    [
        ({"name": "x", "comparisons": [OURS]}, False),
        ([DIALOGUE], False),
        ({"name": "x", "comparisons": [OURS]}, True),
        ([{"prompt": TEXT}], True),
        ([{"prompt": TEXT.strip()}], True),
    ],
)
def test_every_layout_says_the_same(write, content, reasoned):
    found = open_comparisons(write(content), reasoned)
    thought = "(B) is rude." if reasoned else None
    assert found.examples == (Comparison([user("May I?")], "Yes.", "No!", "(A)", thought),)
    asked = wording.preference([user("May I?")], PRINCIPLES[0].question, "Yes.", "No!", reasoned=reasoned)
    verdict = [assistant("(B) is rude."), user("So the answer is:")] if reasoned else []
    assert found.turns(PRINCIPLES) == [*asked, *verdict, assistant("(A)")]


def test_none_stands_in_front_where_none_is_asked_for():
    assert open_comparisons("none", reasoned=True) == Comparisons("none")
    assert open_comparisons("none", reasoned=False).turns(PRINCIPLES) == []


def test_ours_serve_both_ways_and_are_balanced():
    reasoned, at_once = (open_comparisons("default", way) for way in (True, False))
    answers = Counter(example.answer for example in reasoned.examples)
    assert answers["(A)"] == answers["(B)"] == 3
    assert all(example.answer in (example.thought or "").rpartition(". ")[2] for example in reasoned.examples)
    assert [example.answer for example in at_once.examples] == [example.answer for example in reasoned.examples]
    assert not any(example.thought for example in at_once.examples)
    assert reasoned.digest != at_once.digest


def test_each_example_is_asked_by_a_principle_of_its_own_whatever_is_asked_behind_it():
    examples = open_comparisons("default", reasoned=False)
    asked = [turn["content"] for turn in examples.turns(PRINCIPLES[:4]) if turn["role"] == "user"]
    for number, text in enumerate(asked):
        assert f"\n\n\n{PRINCIPLES[number % 4].question} Options:" in text


def test_the_papers_comparisons_are_balanced_and_lose_no_word(real_data):
    path = real_data / "anthropic/prompts/RLMadisonFewShotPrompts.json"
    rows, found = json.loads(path.read_text()), open_comparisons(str(path), reasoned=False)
    assert [example.answer for example in found.examples] == ["(A)", "(B)", "(A)", "(B)", "(A)"]
    for row, example in zip(rows, found.examples, strict=True):
        better, worse = row["corrects"][0], row["incorrects"][0]
        pair = (better, worse) if example.answer == "(A)" else (worse, better)
        text = wording.question(example.opening, "Which?", *pair)
        dialogue = row["prompt"].removesuffix("\n\nAssistant:")
        assert text.startswith(
            f"\n\nConsider the following conversation between a human and an assistant:{dialogue}\n\n"
        )
        assert example.turns("Which?") == [user(text.strip()), assistant(example.answer)]


def test_the_papers_chains_of_thought_are_rendered_to_the_byte(real_data):
    folder = real_data / "anthropic"
    rows = json.loads((folder / "prompts/RLMadisonPrecogFewShotPrompts.json").read_text())
    instruction = json.loads((folder / "prompts/RLMadisonInstructions.json").read_text())[0]
    principle = open_preferences(folder).principles[0]
    found = open_comparisons(str(folder), reasoned=True).examples
    irregular = 0
    for row, example in zip(rows, found, strict=True):
        question, thought, so, answer = (turn["content"] for turn in example.turns(principle.question))
        question, cue = question.removesuffix(wording.REASONS).rstrip("\n"), wording.REASONS
        text = f"\n\nHuman: {question}\n\nAssistant: {cue} {thought}\n\nHuman:\n{so} {answer}"
        if cue + "\n" in row["prompt"]:
            text = text.replace(f"{cue} ", f"{cue}\n")
        expected = row["prompt"].replace("{}", instruction)
        irregular += not expected.startswith(text.partition(":\n\nH:")[0])
        head = expected.partition(":\n\nH:")[0]
        assert text.partition(":\n\nH:")[2] == expected.partition(":\n\nH:")[2]
        assert head.lstrip().startswith("Human: Consider the following conversation between a human")
    assert irregular == 2


@pytest.mark.parametrize(
    ("content", "reasoned", "message"),
    [
        ({"name": "x", "comparisons": []}, False, "there is no comparison in it"),
        ({"name": "x", "comparisons": [{**OURS, "answer": "A"}]}, False, "answer' should be '\\(A\\)' or '\\(B\\)'"),
        ({"name": "x", "comparisons": [{**OURS, "thought": None}]}, True, r"\[0\]: this comparison has no chain of"),
        ([DIALOGUE], True, r"\[0\]: this comparison has no chain of thought"),
        ([{**DIALOGUE, "corrects": ["a", "b"]}], False, r"'\[0\].corrects' should have at most 1 item"),
        ([{**DIALOGUE, "prompt": "May I?"}], False, r"\[0\]: expected Human and Assistant in turn"),
        ([{"prompt": TEXT.replace("{}", "")}], True, r"\[0\]: expected `corrects` and `incorrects`, or a conversation"),
        ([{"prompt": TEXT.replace("May I?", "May {}?")}], True, "one `{}` for the principle"),
        ({"few_shots": []}, False, "unknown layout"),
    ],
)
def test_what_is_wrong_is_named(write, content, reasoned, message):
    path = write(content)
    with pytest.raises(UserError, match=message) as error:
        open_comparisons(path, reasoned)
    assert path in str(error.value)
