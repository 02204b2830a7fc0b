"""Few-shot examples: either layout says the same, the paper's file reads whole, and what is wrong is named."""

import json
from dataclasses import asdict

import pytest

from cai_lightning.principles.constitution import open_constitution
from cai_lightning.principles.few_shots import DIALOGUES, open_few_shots
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user

OURS = {
    "prompt": "May I?",
    "response": "Sure.",
    "critique_request": "Is it kind?",
    "critique": "It is not.\n\nNot at all: it is rude.",
    "revision_request": "Make it kind.",
    "revision": "Rather not.",
}
DIALOGUE = (
    "\n\nHuman: May I?\n\nAssistant: Sure.\n\nCritiqueRequest: Is it kind?\n\nCritique: It is not.\n\nNot at all: "
    "it is rude.\n\nRevisionRequest: Make it kind.\n\nRevision: Rather not.\n\nHuman:"
)
TURNS = [
    user("May I?"),
    assistant("Sure."),
    user("Is it kind?"),
    assistant("It is not.\n\nNot at all: it is rude."),
    user("Make it kind. Go."),
    assistant("Rather not."),
]


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "mine.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def ours(*few_shots):
    return {"name": "x", "few_shots": list(few_shots)}


@pytest.mark.parametrize("content", [ours(OURS), [DIALOGUE], [DIALOGUE.removesuffix("\n\nHuman:").strip()]])
def test_either_layout_says_the_same(write, content):
    few_shots = open_few_shots(write(content))
    assert few_shots.turns("Go.", critique=True) == TURNS
    assert few_shots.turns("Go.", critique=False) == [*TURNS[:2], *TURNS[4:]]
    assert few_shots.digest == open_few_shots(write(ours(OURS))).digest
    assert few_shots.name == ("x" if isinstance(content, dict) else "mine")


def test_a_dialogue_may_have_several_turns_before_the_response(write):
    (example,) = open_few_shots(write(["\n\nHuman: Hi\n\nAssistant: Hello." + DIALOGUE])).examples
    assert example.opening == [user("Hi"), assistant("Hello."), user("May I?")]
    assert example.response == "Sure."


def test_none_is_no_turn():
    assert open_few_shots("none").turns("Go.", critique=True) == []


def test_the_shipped_examples_are_worded_as_the_default_constitution():
    shipped = open_few_shots("default")
    requests = {(p.critique_request, p.revision_request) for p in open_constitution("default").principles}
    asked = [(e.principle.critique_request, e.principle.revision_request) for e in shipped.examples]
    assert len(set(asked)) == len(asked) >= 3
    assert set(asked) <= requests
    assert all(turn["content"].isascii() for turn in shipped.turns("", critique=True))


def test_every_word_and_the_order_change_the_digest(write):
    other = {**OURS, "critique": "It is."}
    contents = [ours(OURS), ours(other), ours(OURS, other), ours(other, OURS)]
    assert len({open_few_shots(write(content)).digest for content in contents}) == len(contents)


@pytest.mark.parametrize("place", ["", "prompts/"])
def test_a_folder_that_holds_the_papers_file(tmp_path, place):
    path = tmp_path / (place + DIALOGUES)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([DIALOGUE]))
    assert open_few_shots(str(tmp_path)).turns("Go.", critique=True) == TURNS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file of few-shot examples"),
        ("3", "unknown layout.*found 3"),
        ({"name": "x", "principles": []}, "unknown layout"),
        ([], "no example in it; `none` goes without"),
        (ours(), "no example in it"),
        ({"few_shots": [OURS]}, "no 'name' in this row, which has few_shots"),
        ({"name": "x", "few_shots": OURS}, "field 'few_shots' should be a valid array"),
        (ours(OURS, {**OURS, "critique": " "}), r"field 'few_shots\[1\].critique' should have at least 1 character"),
        ([DIALOGUE, 7], r"field '\[1\]' should be a valid string, found 7"),
        (["Hello."], r"\[0\]: expected a dialogue .*found 'Hello\.'"),
        ([DIALOGUE.replace("Revision:", "Human:")], r"found Human, Assistant, .*RevisionRequest, Human$"),
        (["\n\nAssistant: Hi" + DIALOGUE], r"\[0\]: expected a dialogue of Human and Assistant in turn"),
        ([DIALOGUE + " And?"], r"\[0\]: expected a dialogue"),
        ([DIALOGUE.replace("Sure.", "")], r"\[0\]: Assistant says nothing"),
    ],
)
def test_what_is_wrong_is_named(write, content, message):
    path = write(content)
    with pytest.raises(UserError, match=message) as caught:
        open_few_shots(path)
    assert str(caught.value).startswith(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json: the file of few-shot examples cannot be read \(No such file"):
        open_few_shots(str(tmp_path / "absent.json"))


def test_the_papers_examples(real_data):
    examples = open_few_shots(str(real_data / "anthropic")).examples
    assert [len(example.opening) for example in examples] == [3, 1, 1, 3, 3]
    source = json.loads((real_data / "anthropic" / "prompts" / DIALOGUES).read_text())
    for example, text in zip(examples, source, strict=True):
        turns = [turn["content"] for turn in example.turns("", critique=True)]
        assert sum(map(len, turns)) > 0.9 * len(text)
        assert all(turn in text and not turn.startswith(LABELS) for turn in turns)
    assert not any(label in str(asdict(example)) for example in examples for label in LABELS)


LABELS = ("CritiqueRequest:", "Critique:", "RevisionRequest:", "Revision:", "Human:", "Assistant:")
