"""What the sandbox's models learn from: requests with responses to them, rankings of these, and whole conversations.

Conversations are worded just as `predict` words them.

Rankings say what the miniature world prefers: what helps and, before that, what is harmless. A benign request: an
answer, before the same with meta-commentary, before no answer (a refusal, an evasion, or an answer to something else).
A harmful request: a refusal with its reason and something better to do, before the same with meta-commentary, before an
evasion, before help.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from cai_lightning.principles import wording
from cai_lightning.principles.constitution import Principle
from cai_lightning.run.records import Conversation, assistant, user
from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.grammar import Answer, Scope
from cai_lightning.sandbox.world import BENIGN, HARMS, Request, Topic, draw_request

Allowed = Callable[[str], bool]
"""Whether a request may be trained on; test prompts are in no training set."""

JUDGE_LABELS = ("harmful", "answers", "harms", "refuses", "explains", "offers")
"""The request is harmful; the response tells how to do what is asked; it does harm; it refuses; it gives its reason;
it offers something better."""

COMMENTARY_RATE = {"": 0.5, wording.NO_META_COMMENTARY: 0.12}
"""How often a revision comes with meta-commentary, by the suffix of its request."""

PREFERENCE_QUESTION = "Which of these responses is less harmful?"
PREFERENCE = (
    "Consider the following conversation:\n\nHuman: {request}\n\n"
    + PREFERENCE_QUESTION
    + "\nOptions:\n(A) {first}\n(B) {second}\n"
    "The answer is:"
)
"""How the shipped model has learned to be asked; `wording.preference` asks in the paper's words."""


def principle(scope: Scope) -> Principle:
    """The principle of the sandbox's constitution that speaks of this scope."""
    return Principle(
        scope.id,
        f"Point out whether the response helps with {scope.about}.",
        f"Rewrite the response so that it does not help with {scope.about}.",
    )


def draw_allowed(rng: random.Random, allowed: Allowed, harmful_rate: float = 0.7, severe_rate: float = 0.35) -> Request:
    """A random request that may be trained on.

    Args:
        rng: Source of every choice.
        allowed: Whether a request's text may be used.
        harmful_rate: Share of harmful requests.
        severe_rate: Share of the harmful ones that ask for approval too.
    """
    while True:
        request = draw_request(rng, HARMS if rng.random() < harmful_rate else BENIGN, severe_rate)
        if allowed(request.text):
            return request


def draw_answer(rng: random.Random, request: Request) -> Answer:
    """A response to it as the classifiers meet them: harmful or not, some of them revised under some principle."""
    answer = grammar.respond(request, rng, refusal_rate=0.4)
    if rng.random() < 0.3:
        answer = grammar.revise(request, answer, rng.choice(grammar.scopes()), rng)
    return answer


def draw_case(rng: random.Random, allowed: Allowed) -> tuple[str, str, list[bool]]:
    """A request, a response, and for each of the judge's labels whether it is true of them."""
    request = draw_allowed(rng, allowed)
    answered = draw_allowed(rng, allowed) if rng.random() < 0.25 else request
    if not answered.harmful and rng.random() < 0.2:
        answered = replace(answered, topic=rng.choice(HARMS))  # a benign act is refused as if it were a harm
        answer = grammar.refuse(answered, rng)
    else:
        answer = draw_answer(rng, answered)
        if rng.random() < 0.3:  # half mended answers are few among those, and the hardest to judge
            answer = grammar.revise(answered, answer, grammar.scopes()[-1], rng)
    text = grammar.comment(grammar.text_of(answer), answered, rng, 0.1)
    return request.text, text, _truth(request, answered.topic, answer)


def _truth(request: Request, answered: Topic, answer: Answer) -> list[bool]:
    parts = {sentence.part: sentence.text for sentence in answer}
    return [
        request.harmful,
        "method" in parts and answered.name == request.topic.name,
        bool(grammar.harms_in(answer, answered)),
        "refusal" in parts,
        "refusal" in parts and parts["refusal"] not in grammar.EVASIONS,
        "instead" in parts,
    ]


def draw_ranking(request: Request, rng: random.Random) -> list[str]:
    """Answers to a request, each better than the next.

    A revision that has mended one harm of two stands between the evasion and the whole harm.
    """
    if not request.harmful:
        answer = grammar.text_of(grammar.comply(request, rng))
        return [answer, grammar.comment(answer, request, rng, rate=1.0), _no_answer(request, rng)]
    mended = grammar.text_of(grammar.explain_refusal(request, rng))
    answers = [mended, grammar.comment(mended, request, rng, rate=1.0), rng.choice(grammar.EVASIONS)]
    harm = grammar.comply(request, rng)
    if request.severe:
        answers.append(grammar.text_of(grammar.revise(request, harm, _fitting(request.topic)[0], rng)))
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


def draw_few_shot(rng: random.Random, topic: Topic, allowed: Allowed) -> dict[str, str]:
    """A harm mended in one round under the principle of its kind, as a file of few-shot examples holds it."""
    request = draw_request(rng, (topic,), severe_rate=0.0)
    while not allowed(request.text):
        request = draw_request(rng, (topic,), severe_rate=0.0)
    scope = _fitting(topic)[0]
    answer = grammar.comply(request, rng)
    return {
        "prompt": request.text,
        "response": grammar.text_of(answer),
        "critique_request": principle(scope).critique_request,
        "critique": grammar.criticize(request, answer, scope, rng),
        "revision_request": principle(scope).revision_request,
        "revision": grammar.text_of(grammar.revise(request, answer, scope, rng)),
    }


def draw_dialogue(rng: random.Random, allowed: Allowed) -> Conversation:
    """A random conversation of any form that the pipeline holds with the model.

    Args:
        rng: Source of every choice.
        allowed: Whether a request may be used; test prompts are in no training set.
    """
    form = rng.random()
    request = draw_allowed(rng, allowed, severe_rate=0.5)
    if form < 0.07:
        return _prefer(rng, request)
    if form < 0.13:
        first = _revise(rng, request, rounds=1)
        return [*first, *_revise(rng, draw_allowed(rng, allowed, severe_rate=0.5), rounds=1)]
    opening: Conversation = []
    if form < 0.2:
        opening = [user(request.text), assistant(grammar.text_of(grammar.respond(request, rng)))]
        request = draw_allowed(rng, allowed, severe_rate=0.5)
    return [*opening, *_revise(rng, request, rng.choices((0, 1, 2, 3, 4), (2, 3, 8, 1, 1))[0])]


def _revise(rng: random.Random, request: Request, rounds: int) -> Conversation:
    answer = grammar.respond(request, rng)
    talk = [user(request.text), assistant(grammar.text_of(answer))]
    suffix = rng.choice(tuple(COMMENTARY_RATE))
    direct = rng.random() < 0.12
    fitting = _fitting(request.topic)
    for _ in range(rounds):  # fitting in more than half of them, so that both cases are learned
        scope = rng.choice(fitting if fitting and rng.random() < 0.5 else grammar.scopes())
        if not direct:
            found = grammar.criticize(request, answer, scope, rng)
            talk = wording.answered(wording.critique(talk, principle(scope)), found)
        answer = grammar.revise(request, answer, scope, rng)
        text = grammar.comment(grammar.text_of(answer), request, rng, COMMENTARY_RATE[suffix])
        talk = wording.answered(wording.revision(talk, principle(scope), suffix), text)
    return talk


def _fitting(topic: Topic) -> Sequence[Scope]:
    """The principles that speak of a topic, that of its own kind first."""
    return [scope for scope in grammar.scopes() if scope.fits(topic)]


def _prefer(rng: random.Random, request: Request) -> Conversation:
    answers = [grammar.respond(request, rng, refusal_rate=0.5) for _ in range(2)]
    harms = [len(grammar.harms_in(answer, request.topic)) for answer in answers]
    better = rng.randrange(2) if harms[0] == harms[1] or rng.random() < 0.05 else harms.index(min(harms))
    first, second = (grammar.text_of(answer) for answer in answers)
    asked = PREFERENCE.format(request=request.text, first=first, second=second)
    return wording.answered([user(asked)], ("(A)", "(B)")[better])
