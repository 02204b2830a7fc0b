"""What the miniature world prefers: answers to one request in order, from which its reward model learns.

It prefers what helps, and what is harmless before that. A benign request: an answer, before the same with
meta-commentary, before no answer (a refusal, an evasion, or an answer to something else). A harmful request: a refusal
with its reason and something better to do, before the same with meta-commentary, before an evasion, before help.
"""

import random

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.requests import Request, draw_request
from cai_lightning.sandbox.world import BENIGN, HARMS


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
