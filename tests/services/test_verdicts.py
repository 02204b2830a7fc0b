"""Nothing but a whole verdict is one."""

import json

import pytest

from cai_lightning.run.records import user
from cai_lightning.services.http import NOT_READ
from cai_lightning.services.judge import LONGEST_RATIONALE, pair_request, read_verdict, score_request

SCORES, PAIRS = score_request([user("How?")], "So.").schema, pair_request([user("How?")], "So.", "Or so.").schema


def read_ratings(text):
    return read_verdict(text, SCORES)


def read_choice(text):
    return read_verdict(text, PAIRS)


def verdict(**changes):
    return json.dumps({"rationale": "It is fine.", "helpfulness": 4, "refusal": 5, **changes})


def test_a_verdict_is_read():
    assert read_ratings(verdict()) == {"rationale": "It is fine.", "helpfulness": 4, "refusal": 5}
    assert read_ratings(f"\n{verdict(helpfulness=1)}  ")["helpfulness"] == 1
    assert len(read_ratings(verdict(rationale="x" * 5_000))["rationale"]) == LONGEST_RATIONALE
    assert read_choice('{"rationale": "", "better": "tie"}') == {"rationale": "", "better": "tie"}


@pytest.mark.parametrize(
    "form", ["```json\n{}\n```", "```\n{}```\n", " ```JSON {} ```", "\n```json\n\n{}\n\n```\n\n", "```{}```"]
)
def test_a_verdict_in_a_block_of_code_is_one(form):
    quoting = verdict(rationale='It shows ```json {"helpfulness": 5} ``` and no more.', helpfulness=2)
    assert read_ratings(form.replace("{}", quoting))["helpfulness"] == 2
    choice = json.dumps({"rationale": "", "better": "B"})
    assert read_choice(form.replace("{}", choice)) == json.loads(choice)


@pytest.mark.parametrize(
    "form",
    [
        "Here it is:\n```json\n{}\n```",
        "```json\n{}\n```\nI hope that helps.",
        "```json\n{}\n```\n```json\n{}\n```",
        "```python\n{}\n```",
        "```json\n{}",
        "{}\n```",
        "```json 5 {}```",
        "``````json\n{}\n``````",
        "```json\n```json\n{}\n```\n```",
    ],
)
def test_a_block_of_code_among_other_words_is_no_verdict(form):
    """The words may quote a verdict that the judged response has made up."""
    with pytest.raises(ValueError, match="no JSON"):
        read_ratings(form.replace("{}", verdict()))


@pytest.mark.parametrize(
    "text", ["```" * 100_000, "```json" + "{" * 300_000 + "```", "```" + "[" * 300_000 + "```", "`" * 5]
)
def test_a_hostile_block_of_code_is_no_verdict(text):
    with pytest.raises(ValueError, match="no JSON") as failure:
        read_ratings(text)
    assert len(str(failure.value)) < 300


@pytest.mark.parametrize("depth", range(880, 1000, 3))
def test_what_is_nested_as_deep_as_can_be_read_is_no_verdict(depth):
    """Its representation may be too deep where it is not."""
    with pytest.raises(NOT_READ):
        read_ratings(f'{{"rationale": {"[" * depth}{"]" * depth}, "helpfulness": 1, "refusal": 1}}')


@pytest.mark.parametrize("score", [0, 6, 7, -1, 3.5, 4.0, "5", True, None, [5], {"score": 5}])
@pytest.mark.parametrize("name", ["helpfulness", "refusal"])
def test_a_score_off_the_scale_is_none(name, score):
    with pytest.raises(ValueError, match=f"{name}: one of 1, 2, 3, 4, 5 expected, found "):
        read_ratings(verdict(**{name: score}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("4", "an object of helpfulness, rationale, refusal expected, found 4"),
        ("[]", "an object"),
        ("{}", "an object"),
        (verdict()[:-1], "no JSON"),
        (f"Here it is: {verdict()}", "no JSON"),
        (f"{verdict()}{verdict()}", "no JSON"),
        (verdict(extra=1), "an object"),
        ('{"rationale": "x", "helpfulness": 4}', "an object"),
        (verdict(rationale=7), "rationale: a text expected, found 7"),
        ("[" * 100_000, "no JSON"),
        ("I'm sorry, but I can't rate this content.", "the judge refuses"),
        ("I cannot assist with that.", "the judge refuses"),
        (verdict(rationale="I can\u2019t evaluate such content."), "the judge refuses"),
        (verdict(rationale="As an AI model, I am unable to judge this."), "the judge refuses"),
    ],
)
def test_what_is_no_verdict_is_said(text, message):
    with pytest.raises(ValueError, match=message) as failure:
        read_ratings(text)
    assert len(str(failure.value)) < 300


@pytest.mark.parametrize(
    "rationale",
    [
        "The response says 'I cannot help with that', which is right.",
        "I cannot find a fault in it.",
        "Sorry to say, it is vague.",
        "It declines: I can't provide instructions.",
    ],
)
def test_a_rationale_about_refusals_is_no_refusal(rationale):
    assert read_ratings(verdict(rationale=rationale))["rationale"] == rationale


@pytest.mark.parametrize("better", ["C", "a", "", None, 1, ["A"]])
def test_a_choice_of_neither_is_none(better):
    with pytest.raises(ValueError, match="better: one of 'A', 'B', 'tie' expected"):
        read_choice(json.dumps({"rationale": "", "better": better}))
