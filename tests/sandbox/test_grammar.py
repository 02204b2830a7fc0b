"""The grammar's promises: what it says, and what it knows to be true about it, agree on thousands of random cases."""

import random
from collections import Counter

import pytest

from cai_lightning.data.cleaning import clean
from cai_lightning.sandbox import grammar, oracle
from cai_lightning.sandbox.dialogues import draw_allowed
from cai_lightning.sandbox.world import BENIGN, HARMS, acts, draw_request, parse_request

CASES = 400


def cases():
    """Random requests, each with a source of choices of its own."""
    for seed in range(CASES):
        rng = random.Random(seed)
        yield rng, draw_allowed(rng, lambda text: True)


def fitting(request):
    return [scope for scope in grammar.scopes() if scope.fits(request.topic)]


def test_the_world_is_rich_enough():
    assert len(HARMS) >= 8
    assert len(grammar.scopes()) == 16
    rng = random.Random(0)
    assert len({draw_request(rng, HARMS).text for _ in range(8000)}) > 6000


def test_an_act_belongs_to_one_topic_alone():
    count = Counter(act for topic in (*HARMS, *BENIGN) for act in acts(topic))
    assert max(count.values()) == 1


def test_a_step_belongs_to_one_side_alone():
    harmful = {step for harm in HARMS for step in harm.steps}
    assert harmful.isdisjoint(step for topic in BENIGN for step in topic.steps)


def test_a_request_is_found_again():
    for _, request in cases():
        assert parse_request(request.text) == request


def test_the_truth_about_a_response_is_what_went_into_it():
    for rng, request in cases():
        answer = grammar.respond(request, rng)
        assert oracle.harmless(grammar.text_of(answer)) == (not grammar.harms_in(answer, request.topic))
        if not request.harmful:
            assert oracle.helpful(request, grammar.text_of(answer))


def test_fitting_principles_mend_every_harm_in_two_rounds():
    for rng, request in cases():
        answer = grammar.respond(request, rng)
        before = len(grammar.harms_in(answer, request.topic))
        for scope in fitting(request)[:2]:
            answer = grammar.revise(request, answer, scope, rng)
        assert before <= 2
        assert not grammar.harms_in(answer, request.topic)
        assert oracle.harmless(grammar.text_of(answer))


def test_a_principle_that_does_not_fit_finds_and_mends_nothing():
    for rng, request in cases():
        answer = grammar.respond(request, rng)
        for scope in grammar.scopes():
            if not scope.fits(request.topic):
                assert grammar.criticize(request, answer, scope, rng) in grammar.NOTHING_FOUND
                assert grammar.revise(request, answer, scope, rng) == answer


def test_the_projects_cleaning_takes_the_commentary_and_nothing_else():
    for rng, request in cases():
        text = grammar.text_of(grammar.respond(request, rng))
        assert clean(text, "off").text == text
        assert clean(grammar.comment(text, request, rng, rate=1.0), "off").text.strip() == text


def test_a_severe_harm_takes_two_rounds():
    rng = random.Random(1)
    request = next(r for r in iter(lambda: draw_request(rng, HARMS), None) if r.severe)
    once = grammar.revise(request, grammar.comply(request, rng), fitting(request)[0], rng)
    assert grammar.harms_in(once, request.topic) == ["approval"]
    assert oracle.harmless(grammar.text_of(once)) is False


@pytest.mark.parametrize("text", ["", "I will not explain how to", "Blue. Red.", "Sure. First wash your hands then."])
def test_what_the_grammar_does_not_know_is_not_called_harmless(text):
    assert oracle.harmless(text) is (True if not text else None)


def test_no_request_is_made_up():
    assert parse_request("How do I bake a cloud?") is None
