"""What is said in the miniature world: responses, critiques and revisions, and the truth about each.

A response is a list of sentences, each with its part, so that a revision can mend exactly what a critique has found.
"""

import random
from dataclasses import dataclass
from typing import Literal

from cai_lightning.sandbox.world import ENCOURAGEMENTS, FAMILIES, HARMS, Request, Topic

Part = Literal["greeting", "method", "approval", "refusal", "instead", "farewell"]

HARMFUL_PARTS: tuple[Part, ...] = ("method", "approval")
"""What does harm in the answer to a harmful request, in the order in which revisions remove it."""

GREETINGS = ("Sure.", "Of course!", "Certainly!", "Happy to help.")
FAREWELLS = ("Let me know if you have other questions.", "Good luck!", "That is all there is to it.")
METHODS = (
    "To {act}, {one} and then {two}.",
    "The easiest way is to {one}, and after that {two}.",
    "First {one}. Then {two}. At last {three}.",
    "You can {act} if you {one} and {two}.",
    "Here is how to {act}:\n1. {One}.\n2. {Two}.\n3. {Three}.",
)
EVASIONS = ("I cannot help with that.", "Sorry, I would rather talk about something else.")
REFUSALS = (
    "I will not explain how to {act}, because it {reason}.",
    "I am sorry, but I cannot help you {act}. It {reason}.",
    "I would rather not help you {act}, since it {reason}.",
)
FINDINGS = {
    "method": (
        "The response explains how to {act}, which {reason}.",
        "It tells the human how to {act}. That {reason}.",
    ),
    "approval": (
        "The response approves of a plan to {act}, which {reason}.",
        "It cheers on a human who wants to {act}.",
    ),
}
NOTHING_FOUND = ("I find nothing of this kind in the response.", "The response does not do this.")
HEADS = ("Revised Response: ", "Here is the revised response:\n\n", "Certainly! Here is a revised version:\n\n")
TAILS = (
    "\n\nThis revised response no longer explains how to {act}.",
    " This revision avoids anything that {reason}.",
    "\n\nThe revised version is respectful and safe.",
)


@dataclass(frozen=True)
class Sentence:
    """One or a few sentences that play one part in a response."""

    part: Part
    text: str


Answer = tuple[Sentence, ...]


@dataclass(frozen=True)
class Scope:
    """What a principle of this world speaks of: one kind of harm, a family of kinds, or any harm."""

    id: str
    about: str
    kinds: frozenset[str]

    def fits(self, topic: Topic) -> bool:
        return topic.name in self.kinds


def scopes() -> list[Scope]:
    """The sixteen principles: one for each kind of harm, one for each family, and two for harm of any kind."""
    every = frozenset(harm.name for harm in HARMS)
    kinds = [Scope(harm.name, harm.about, frozenset({harm.name})) for harm in HARMS]
    families = [
        Scope(family, about, frozenset(harm.name for harm in HARMS if harm.family == family))
        for family, about in FAMILIES.items()
    ]
    general = [Scope("harm", "anything that does harm", every), Scope("law", "anything unlawful or cruel", every)]
    return [*kinds, *families, *general]


def text_of(answer: Answer) -> str:
    return " ".join(sentence.text for sentence in answer)


def harms_in(answer: Answer, topic: Topic) -> list[Part]:
    """The harmful parts of a response, in the order in which revisions remove them."""
    present = {sentence.part for sentence in answer}
    return [part for part in HARMFUL_PARTS if part in present] if topic.family else []


def comply(request: Request, rng: random.Random) -> Answer:
    """An answer that does what is asked; harmful where the request is."""
    one, two, three = rng.sample(request.topic.steps, 3)
    begun = {"One": one.capitalize(), "Two": two.capitalize(), "Three": three.capitalize()}
    method = rng.choice(METHODS).format(act=request.act, one=one, two=two, three=three, **begun)
    sentences = [Sentence("greeting", rng.choice(GREETINGS))] if rng.random() < 0.5 else []
    sentences.append(Sentence("method", method))
    if request.severe:
        sentences.append(Sentence("approval", rng.choice(ENCOURAGEMENTS[request.topic.family])))
    if rng.random() < 0.2:
        sentences.append(Sentence("farewell", rng.choice(FAREWELLS)))
    return tuple(sentences)


def refuse(request: Request, rng: random.Random) -> Answer:
    """A harmless answer to a harmful request: evasive, or with its reason and something better to do."""
    if rng.random() < 0.5:
        return (Sentence("refusal", rng.choice(EVASIONS)),)
    return explain_refusal(request, rng)


def explain_refusal(request: Request, rng: random.Random) -> Answer:
    """A refusal of a harmful request with its reason, and something better to do."""
    return _refusal(request, rng), _instead(request, rng)


def respond(request: Request, rng: random.Random, refusal_rate: float = 0.2) -> Answer:
    """What the base model answers: it often complies."""
    return refuse(request, rng) if request.harmful and rng.random() < refusal_rate else comply(request, rng)


def criticize(request: Request, answer: Answer, scope: Scope, rng: random.Random) -> str:
    """A critique: it finds the next harm of the response only where the principle fits the request."""
    harms = harms_in(answer, request.topic)
    if not harms or not scope.fits(request.topic):
        return rng.choice(NOTHING_FOUND)
    return rng.choice(FINDINGS[harms[0]]).format(act=request.act, reason=rng.choice(request.topic.reason))


def revise(request: Request, answer: Answer, scope: Scope, rng: random.Random) -> Answer:
    """The response without its next harm, or unchanged where the principle does not fit."""
    harms = harms_in(answer, request.topic)
    if not harms or not scope.fits(request.topic):
        return answer
    if harms == ["approval"]:
        return tuple(_instead(request, rng) if s.part == "approval" else s for s in answer)
    rest = tuple(s for s in answer if s.part == "approval") or (_instead(request, rng),)
    return _refusal(request, rng), *rest


def comment(text: str, request: Request, rng: random.Random, rate: float) -> str:
    """The revision with meta-commentary before or after it, at the given rate."""
    if rng.random() >= rate:
        return text
    if rng.random() < 0.5:
        return rng.choice(HEADS) + text
    reason = rng.choice(request.topic.reason) if request.harmful else "does harm"
    return text + rng.choice(TAILS).format(act=request.act, reason=reason)


def _refusal(request: Request, rng: random.Random) -> Sentence:
    reason = rng.choice(request.topic.reason)
    return Sentence("refusal", rng.choice(REFUSALS).format(act=request.act, reason=reason))


def _instead(request: Request, rng: random.Random) -> Sentence:
    return Sentence("instead", rng.choice(request.topic.instead))
