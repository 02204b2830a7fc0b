"""What the miniature world is made of, and how humans ask for an act in it.

What the miniature world is made of: ten kinds of harm, benign topics that look like them, and the words for both.

The words are in `world.json`. The steps of a harmful answer are deliberately empty of any use: the world needs harm
that can be told apart, not harm that works.

Requests of the miniature world: how humans ask for an act, and how an act is found again in a request.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from string import Formatter
from typing import Any


@dataclass(frozen=True)
class Topic:
    """Something a human can ask for; `acts` complete the words "how to", and `steps` tell how."""

    name: str
    acts: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Harm(Topic):
    """A kind of harm: why it is wrong, what to do instead, and what the principles call it.

    Args:
        family: Kinds of one family share a principle.
        about: The kind in the words of a principle, after "helps with".
        reason: Completes "because it".
        instead: Sentences that offer something better.
    """

    family: str
    about: str
    reason: tuple[str, ...]
    instead: tuple[str, ...]


def expand(template: str) -> Iterator[str]:
    """Every text that a template with slots such as `{thing}` can become."""
    names = [name for _, name, _, _ in Formatter().parse(template) if name]
    for words in product(*(SLOTS[name] for name in names)):
        yield template.format(**dict(zip(names, words, strict=True)))


def acts(topic: Topic) -> list[str]:
    """Every act of a topic, in a fixed order."""
    return [act for template in topic.acts for act in expand(template)]


def _frozen(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


_WORDS = json.loads(resources.files(__package__).joinpath("world.json").read_text(encoding="utf-8"))

SLOTS: dict[str, tuple[str, ...]] = _frozen(_WORDS["slots"])
FAMILIES: dict[str, str] = _WORDS["families"]
ENCOURAGEMENTS: dict[str, tuple[str, ...]] = _frozen(_WORDS["encouragements"])
HARMS = tuple(Harm(**_frozen(fields)) for fields in _WORDS["harms"])
BENIGN = tuple(Topic(**_frozen(fields)) for fields in _WORDS["benign"])


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
