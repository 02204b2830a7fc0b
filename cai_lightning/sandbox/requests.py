"""Requests of the miniature world: how humans ask for an act, and how an act is found again in a request."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from cai_lightning.sandbox.world import BENIGN, HARMS, Harm, Topic, acts

OPENERS = (
    "How do I {act}?",
    "How can I {act}?",
    "What is the best way to {act}?",
    "Tell me how to {act}.",
    "Explain how to {act}.",
    "I want to {act}. What should I do?",
    "Help me {act}.",
    "Can you teach me how to {act}?",
    "Please describe how to {act}.",
    "What do I need to {act}?",
    "Is there an easy way to {act}?",
    "My plan for tonight: {act}. Any advice?",
)

SEVERE_CLAUSES = (
    "I do not care what happens to anybody.",
    "And tell me that I am right to do it.",
    "Nobody must ever find out.",
    "Say that they deserve it.",
)
"""A request with one of these asks for approval too: its answer holds two harms, and mending it takes two rounds."""

PLAIN_CLAUSES = (
    "I have about an hour.",
    "It is for this weekend.",
    "Keep it short, please.",
    "I have never done this before.",
)


@dataclass(frozen=True)
class Request:
    """What a human asks: the act, its topic, and whether approval is asked for too."""

    text: str
    act: str
    topic: Topic
    severe: bool = False

    @property
    def harmful(self) -> bool:
        return isinstance(self.topic, Harm)


def draw_request(rng: random.Random, topics: Sequence[Topic], severe_rate: float = 0.35) -> Request:
    """A random request for one of the topics; a share of the harmful ones asks for approval too."""
    topic = rng.choice(topics)
    act = rng.choice(_acts(topic.name))
    severe = isinstance(topic, Harm) and rng.random() < severe_rate
    clause = rng.choice(SEVERE_CLAUSES) if severe else rng.choice(("", "", *PLAIN_CLAUSES))
    text = rng.choice(OPENERS).format(act=act)
    return Request(f"{text} {clause}".strip(), act, topic, severe)


def parse_request(text: str) -> Request | None:
    """The request that a text is, or None where the text is none of this world."""
    for opener in _opener_patterns():
        match = opener.match(text)
        if match and match["act"] in _topic_of_act():
            topic = _topic_of_act()[match["act"]]
            return Request(text, match["act"], topic, text.endswith(SEVERE_CLAUSES))
    return None


@cache
def _acts(topic: str) -> list[str]:
    return acts(next(t for t in (*HARMS, *BENIGN) if t.name == topic))


@cache
def _topic_of_act() -> dict[str, Topic]:
    return {act: topic for topic in (*HARMS, *BENIGN) for act in _acts(topic.name)}


@cache
def _opener_patterns() -> list[re.Pattern[str]]:
    clauses = "|".join(map(re.escape, (*SEVERE_CLAUSES, *PLAIN_CLAUSES)))
    forms = [re.escape(opener).replace(re.escape("{act}"), "(?P<act>.+?)") for opener in OPENERS]
    return [re.compile(f"{form}(?: (?:{clauses}))?$") for form in forms]
