"""A pair is asked for in both orders; a preference is what they agree on."""

import asyncio
import math

import pytest
from judges import DIGEST, judging, said, texts
from servers import Answer, error

from cai_lightning.metrics.judge import Pair, Preference, prefer
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user
from cai_lightning.services.judge import PAIR_RUBRIC, JudgeClient, JudgeModel


def choice(better, rationale="because"):
    return said({"rationale": rationale, "better": better})


def longest(request, headers=None):
    """Prefers the longer response, wherever it stands."""
    a, b = (text for _, text in texts(request)[-2:])
    return choice("tie" if len(a) == len(b) else "A" if len(a) > len(b) else "B", f"{a}|{b}")


def pair(first, second, id="id", conversation=None):
    return Pair(id, conversation or [user("How?")], first, second)


async def no_wait(seconds):
    await asyncio.sleep(0)


def judged(script, *pairs, **settings):
    """What is said of each pair, in their order, and what was asked."""
    with judging(script) as server:
        client, found = JudgeClient(JudgeModel(base_url=server.root, timeout=5.0, **settings), no_wait), {}
        assert client.revision().startswith(f"llama3.1@{DIGEST}, rubric ")
        prefer(client, pairs, lambda pair, preference: found.setdefault(id(pair), preference))
        return [found[id(pair)] for pair in pairs], server.asked


def test_both_orders_are_asked_for():
    turns = [user("How?"), assistant("What?"), user("That.")]
    (found,), asked = judged(longest, pair("long one", "short", conversation=turns))
    assert found == Preference("first", "first", None, ("long one|short", "short|long one"))
    assert found.preferred == "first"
    before = [("human", "How?"), ("assistant", "What?"), ("human", "That.")]
    assert [texts(request) for request in asked] == [
        [*before, ("response A", "long one"), ("response B", "short")],
        [*before, ("response A", "short"), ("response B", "long one")],
    ]
    assert {request["messages"][0]["content"] for request in asked} == {PAIR_RUBRIC}
    assert asked[0]["format"]["properties"]["better"] == {"type": "string", "enum": ["A", "B", "tie"]}


def test_a_judge_that_likes_the_first_place_makes_ties():
    (found,), _ = judged(lambda *_: choice("A"), pair("one", "two"))
    assert (found.first_shown_first, found.second_shown_first) == ("first", "second")
    assert (found.preferred, found.reason) == ("tie", None)


@pytest.mark.parametrize(
    ("forth", "back", "preferred"),
    [
        ("first", "first", "first"),
        ("second", "second", "second"),
        ("tie", "tie", "tie"),
        ("first", "second", "tie"),
        ("tie", "first", "tie"),
        ("first", None, None),
        (None, "tie", None),
        (None, None, None),
    ],
)
def test_what_two_orders_come_to(forth, back, preferred):
    assert Preference(forth, back).preferred == preferred


def test_many_pairs_keep_their_own_preferences():
    pairs = [pair("x" * (1 + n), "y" * (1 + n * n % 7), id=str(n)) for n in range(40)]
    found, asked = judged(longest, *pairs, concurrency=8)
    assert len(asked) == 80
    for one, preference in zip(pairs, found, strict=True):
        signs = {1: "first", 0: "tie", -1: "second"}
        difference = len(one.first) - len(one.second)
        assert preference.preferred == signs[int(math.copysign(bool(difference), difference))]


def test_identical_and_empty_responses_ask_nobody():
    found, asked = judged(longest, pair("same", "same"), pair("", "some"), pair("some", " "))
    assert asked == []
    assert [preference.preferred for preference in found] == ["tie", None, None]
    assert [preference.reason for preference in found] == [None, "empty response", "empty response"]


def test_one_order_without_a_verdict_leaves_the_pair_unscored():
    def script(request, headers):
        return choice("C") if texts(request)[-2][1] == "one" else choice("A")

    (found,), asked = judged(script, pair("one", "two"), tries=2)
    assert len(asked) == 3
    assert (found.first_shown_first, found.second_shown_first, found.preferred) == (None, "second", None)
    assert "better: one of 'A', 'B', 'tie' expected" in found.reason


def test_a_server_that_fails_leaves_pairs_unscored():
    found, _ = judged(
        lambda request, _: error(500) if "bad" in str(texts(request)) else longest(request),
        pair("bad", "two"),
        pair("three", "two"),
        max_retries=1,
    )
    assert [preference.preferred for preference in found] == [None, "first"]
    assert "status 500" in found[0].reason


def test_each_pair_is_told_of_at_once():
    told = []
    with judging(longest) as server:
        client, pairs = JudgeClient(JudgeModel(base_url=server.root)), [pair("aa", "a", "1"), pair("a", "aa", "2")]
        prefer(client, pairs, lambda p, f: told.append((p.id, f.preferred)))
    assert sorted(told) == [("1", "first"), ("2", "second")]


def test_a_server_without_the_model_is_said():
    refusal = pytest.raises(UserError, match="but none at all")
    with judging(longest, **{"/api/tags": Answer({"models": []})}) as server, refusal:
        JudgeClient(JudgeModel(base_url=server.root)).revision()
