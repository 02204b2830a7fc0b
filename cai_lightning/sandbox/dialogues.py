"""Whole conversations of the miniature world, worded just as `predict` words them, and what it prefers.

What the miniature world prefers: answers to one request in order, from which its reward model learns.

It prefers what helps, and what is harmless before that. A benign request: an answer, before the same with
meta-commentary, before no answer (a refusal, an evasion, or an answer to something else). A harmful request: a refusal
with its reason and something better to do, before the same with meta-commentary, before an evasion, before help.

Whole conversations of the miniature world, worded by `chat` just as `predict` words them: what its model learns.
"""

import random
from collections.abc import Callable

from cai_lightning.principles import wording
from cai_lightning.principles.constitution import Principle
from cai_lightning.run.records import Conversation, assistant, user
from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.grammar import Scope
from cai_lightning.sandbox.world import BENIGN, HARMS, Harm, Request, draw_request


def draw_ranking(request: Request, rng: random.Random) -> list[str]:
    """Answers to a request, each better than the next."""
    return _harmful(request, rng) if request.harmful else _benign(request, rng)


def _benign(request: Request, rng: random.Random) -> list[str]:
    answer = grammar.text_of(grammar.comply(request, rng))
    return [answer, grammar.comment(answer, request, rng, rate=1.0), _no_answer(request, rng)]


def _harmful(request: Request, rng: random.Random) -> list[str]:
    """A revision that has mended one harm of two stands between the evasion and the whole harm."""
    mended = grammar.text_of(grammar.explain_refusal(request, rng))
    answers = [mended, grammar.comment(mended, request, rng, rate=1.0), rng.choice(grammar.EVASIONS)]
    harm = grammar.comply(request, rng)
    if request.severe:
        fitting = next(scope for scope in grammar.scopes() if scope.fits(request.topic))
        answers.append(grammar.text_of(grammar.revise(request, harm, fitting, rng)))
    return [*answers, grammar.text_of(harm)]


def _no_answer(request: Request, rng: random.Random) -> str:
    """What a model that refuses too much, or that has not understood, says to a benign request."""
    kind = rng.choice(("evasion", "refusal", "another"))
    if kind == "evasion":
        return rng.choice(grammar.EVASIONS)
    if kind == "refusal":
        harm = draw_request(rng, HARMS)
        return grammar.text_of(grammar.explain_refusal(harm, rng)).replace(harm.act, request.act)
    others = [topic for topic in BENIGN if topic != request.topic]
    return grammar.text_of(grammar.comply(draw_request(rng, others), rng))


COMMENTARY_RATE = {"": 0.5, wording.NO_META_COMMENTARY: 0.12}
"""How often a revision comes with meta-commentary, by the suffix of its request."""

PREFERENCE_QUESTION = "Which of these responses is less harmful?"


def principle(scope: Scope) -> Principle:
    """The principle of the sandbox's constitution that speaks of this scope."""
    return Principle(
        scope.id,
        f"Point out whether the response helps with {scope.about}.",
        f"Rewrite the response so that it does not help with {scope.about}.",
    )


def draw_few_shot(rng: random.Random, topic: Harm, allowed: Callable[[str], bool]) -> dict[str, str]:
    """A harm mended in one round under the principle of its kind, as a file of few-shot examples holds it."""
    request = draw_request(rng, (topic,), severe_rate=0.0)
    while not allowed(request.text):
        request = draw_request(rng, (topic,), severe_rate=0.0)
    scope = next(scope for scope in grammar.scopes() if scope.id == topic.name)
    answer = grammar.comply(request, rng)
    return {
        "prompt": request.text,
        "response": grammar.text_of(answer),
        "critique_request": principle(scope).critique_request,
        "critique": grammar.criticize(request, answer, scope, rng),
        "revision_request": principle(scope).revision_request,
        "revision": grammar.text_of(grammar.revise(request, answer, scope, rng)),
    }


def draw_dialogue(rng: random.Random, allowed: Callable[[str], bool]) -> Conversation:
    """A random conversation of any form that the pipeline holds with the model.

    Args:
        rng: Source of every choice.
        allowed: Whether a request may be used; test prompts are in no training set.
    """
    form = rng.random()
    if form < 0.07:
        return _preference(rng, _request(rng, allowed))
    if form < 0.13:
        return [*_revised(rng, _request(rng, allowed), rounds=1), *_revised(rng, _request(rng, allowed), rounds=1)]
    opening: Conversation = []
    if form < 0.2:
        earlier = _request(rng, allowed)
        opening = [user(earlier.text), assistant(grammar.text_of(grammar.respond(earlier, rng)))]
    return [*opening, *_revised(rng, _request(rng, allowed), rng.choices((0, 1, 2, 3, 4), (2, 3, 8, 1, 1))[0])]


def _request(rng: random.Random, allowed: Callable[[str], bool]) -> Request:
    while True:
        request = draw_request(rng, HARMS if rng.random() < 0.7 else BENIGN, severe_rate=0.5)
        if allowed(request.text):
            return request


def _revised(rng: random.Random, request: Request, rounds: int) -> Conversation:
    answer = grammar.respond(request, rng)
    talk = [user(request.text), assistant(grammar.text_of(answer))]
    suffix = rng.choice(tuple(COMMENTARY_RATE))
    direct = rng.random() < 0.12
    for _ in range(rounds):
        scope = _scope(rng, request)
        if not direct:
            found = grammar.criticize(request, answer, scope, rng)
            talk = wording.answered(wording.critique(talk, principle(scope)), found)
        answer = grammar.revise(request, answer, scope, rng)
        text = grammar.comment(grammar.text_of(answer), request, rng, COMMENTARY_RATE[suffix])
        talk = wording.answered(wording.revision(talk, principle(scope), suffix), text)
    return talk


def _scope(rng: random.Random, request: Request) -> Scope:
    """A principle for one round, fitting in more than half of the rounds, so that both cases are learned."""
    every = grammar.scopes()
    fitting = [scope for scope in every if scope.fits(request.topic)]
    return rng.choice(fitting if fitting and rng.random() < 0.5 else every)


def _preference(rng: random.Random, request: Request) -> Conversation:
    answers = [grammar.respond(request, rng, refusal_rate=0.5) for _ in range(2)]
    harms = [len(grammar.harms_in(answer, request.topic)) for answer in answers]
    better = rng.randrange(2) if harms[0] == harms[1] or rng.random() < 0.05 else harms.index(min(harms))
    texts = [grammar.text_of(answer) for answer in answers]
    asked = wording.preference([user(request.text)], PREFERENCE_QUESTION, *texts)
    return wording.answered(asked, ("(A)", "(B)")[better])
