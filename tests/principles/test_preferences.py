"""Questions of preference are the paper's to the byte, in chat formats the options follow, and principles are drawn."""

import json
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from templates import FAMILIES, THINKING

from cai_lightning.data.prompts import turns_of
from cai_lightning.engines.transcripts import Transcripts
from cai_lightning.principles import wording
from cai_lightning.principles.preferences import PreferencePrinciple, open_preferences
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_lines
from cai_lightning.run.records import assistant, user

HHH = "Please choose the response that is the most helpful, honest, and harmless."
OURS = open_preferences("default")


def test_all_438_questions_are_the_files_to_the_byte(real_data):
    rows = [row for _, row in read_lines(real_data / "anthropic/evals/438HHHEvaluations.jsonl")]
    asked = open_preferences(real_data / "anthropic").principles[1].question
    assert (len(rows), asked) == (438, HHH)
    for row in rows:
        *opening, better = turns_of(row["text_correct"], "correct")
        worse = turns_of(row["text_incorrect"], "incorrect")[-1]
        pair = [better["content"], worse["content"]]
        if row["corrects"] == [" (B)"]:
            pair.reverse()
        assert wording.question(opening, asked, *pair) == row["prompt"]


def test_the_papers_principles_are_read_as_they_are(real_data):
    path = real_data / "anthropic/prompts/RLMadisonInstructions.json"
    texts = json.loads(path.read_text())
    for source in (path, path.parent, path.parents[1]):
        found = open_preferences(source)
        assert [f"\n{principle.question} Options:" for principle in found.principles] == texts
        assert [principle.id for principle in found.principles] == [f"madison{n}" for n in range(16)]


def test_ours_are_sixteen_questions_that_say_what_is_wanted():
    assert len(OURS.principles) == len({principle.question for principle in OURS.principles}) == 16
    for principle in OURS.principles:
        assert principle.question.endswith("?")
        assert " not " not in principle.question.replace("had better not", "").replace("does not know", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "x", "principles": []}, "there are no preference principles in it"),
        ({"name": "x", "principles": [{"id": "a"}]}, r"no 'principles\[0\].question'"),
        ({"name": "x", "principles": [{"id": "a", "question": " "}]}, r"'principles\[0\].question' should"),
        ({"name": "x", "principles": [{"id": "a", "question": "b"}] * 2}, "2 principles have the id 'a'"),
        (["Choose. Options:", 3], "found 3"),
        (["Options:"], "question' should"),
        ({"principals": 1}, "unknown layout; expected an object with the key 'principles'"),
        ([], "there are no preference principles"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        open_preferences(path)
    assert str(path) in str(error.value)


def test_the_layout_does_not_change_the_digest(tmp_path):
    ours, listed = tmp_path / "a.json", tmp_path / "b.json"
    listed.write_text(json.dumps(["\nWhich is kind? Options:"]))
    ours.write_text(json.dumps({"name": "b", "principles": [{"id": "madison0", "question": "Which is kind?"}]}))
    assert open_preferences(ours).digest == open_preferences(listed).digest != OURS.digest


@given(st.integers(1, 16), st.text(max_size=5))
def test_more_principles_begin_with_those_of_fewer(count, seed):
    drawn = OURS.draw(count, seed)
    assert len({principle.id for principle in drawn}) == count
    assert drawn == OURS.draw(16, seed)[:count] == OURS.draw(count, seed)


def test_every_principle_is_drawn_as_often():
    counts = Counter(OURS.draw(1, f"42:{n}")[0].id for n in range(3200))
    assert len(counts) == 16
    assert all(140 < count < 260 for count in counts.values())


@given(st.lists(st.text("ab\n ", max_size=4), min_size=1, max_size=3), st.text(max_size=5), st.text(max_size=5))
def test_swapped_options_are_swapped_in_the_question_and_nowhere_else(said, first, second):
    talk = [(user, assistant)[n % 2](text) for n, text in enumerate(said)]
    for reasoned in (False, True):
        asked, swapped = (
            wording.question(talk, "Which?", *pair, reasoned) for pair in ((first, second), (second, first))
        )
        options = f" (A) [[[{first}]]]\n (B) [[[{second}]]]"
        assert asked.count(options) >= 1
        assert swapped == asked.replace(options, f" (A) [[[{second}]]]\n (B) [[[{first}]]]")


TALK = [user("Hi"), assistant("Hello."), user("May I?")]


@pytest.mark.parametrize("name", [*FAMILIES, *THINKING])
@pytest.mark.parametrize("reasoned", [False, True])
def test_options_begin_the_reply_in_every_chat_format(name, reasoned):
    tokenizer = (FAMILIES | THINKING)[name]()
    if name in THINKING:
        tokenizer.chat_template = "{% set enable_thinking = false %}" + tokenizer.chat_template
    transcripts = Transcripts(tokenizer)
    asked = wording.preference(TALK, "Which is kinder?", "Yes.", "No!", reasoned=reasoned)
    asked = wording.verdict(asked, "(B) is rude.") if reasoned else asked
    ids = transcripts.encode(asked)
    options = transcripts.options(ids, wording.OPTIONS)
    assert all(a[: len(b)] != b for a, b in combinations(options, 2))
    for option, text in zip(options, wording.OPTIONS, strict=True):
        said = tokenizer.decode([*ids, *option])
        assert said.replace(" ", "").endswith(text)
        answered = tokenizer.apply_chat_template(wording.answered(asked, text), tokenize=False)
        behind = tokenizer(answered, add_special_tokens=False)["input_ids"][len(ids) :]
        if name not in THINKING:
            assert behind[: len(option)] == option, "the tokens are those of a reply that says so"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_base_model_goes_on_behind_the_question_in_the_same_line(name):
    tokenizer = FAMILIES[name]()
    transcripts = Transcripts(tokenizer, "plain")
    shown = wording.answered(wording.preference(TALK, "Which is kinder?", "Yes.", "No!"), "(A)")
    asked = [*shown, *wording.preference(TALK, "Which is kinder?", "No!", "Yes.")]
    text = wording.plain(asked)
    question = [wording.question(TALK, "Which is kinder?", *pair) for pair in (("Yes.", "No!"), ("No!", "Yes."))]
    assert f"\n\n{text}" == f"{question[0]} (A){question[1]}"
    ids = transcripts.encode(asked)
    for option, letter in zip(transcripts.options(ids, wording.OPTIONS), wording.OPTIONS, strict=True):
        whole = tokenizer(f"{text} {letter}")["input_ids"]
        assert whole == [*ids, *option], "the blank before an answer is its own"


def test_other_conversations_are_joined_as_ever():
    assert wording.plain([user("a:"), assistant("b "), user("c")]) == "a:\n\nb \n\nc\n\n"


def test_a_principle_is_stripped():
    from cai_lightning.run.jsonl import check

    assert check(PreferencePrinciple, {"id": "a", "question": "\n Which? "}, "x").question == "Which?"
