"""What the miniature world is made of, how humans ask for an act in it, and how an act is found again in a request.

    request = draw_request(random.Random(0), HARMS)
    assert parse_request(request.text) == request

Ten kinds of harm, benign topics that look like them, and the words for both, which are in `world.json`. The steps of a
harmful answer are deliberately empty of any use: the world needs harm that can be told apart, not harm that works.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from string import Formatter
from typing import Any


@dataclass(frozen=True)
class Topic:
    """Something a human can ask for; it is a kind of harm where it has a family.

    Args:
        name: Its name.
        acts: They complete the words "how to"; slots such as `{thing}` stand for any of several words.
        steps: They tell how.
        family: Kinds of harm of one family share a principle.
        about: The kind of harm in the words of a principle, after "helps with".
        reason: Why it is wrong: each completes "because it".
        instead: Sentences that offer something better.
    """

    name: str
    acts: tuple[str, ...]
    steps: tuple[str, ...]
    family: str = ""
    about: str = ""
    reason: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()


def _frozen(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


_WORDS = json.loads(resources.files(__package__).joinpath("world.json").read_text(encoding="utf-8"))

SLOTS: dict[str, tuple[str, ...]] = _frozen(_WORDS["slots"])
FAMILIES: dict[str, str] = _WORDS["families"]
ENCOURAGEMENTS: dict[str, tuple[str, ...]] = _frozen(_WORDS["encouragements"])
HARMS = tuple(Topic(**_frozen(fields)) for fields in _WORDS["harms"])
BENIGN = tuple(Topic(**_frozen(fields)) for fields in _WORDS["benign"])

OPENERS: list[str] = _WORDS["openers"]
PLAIN_CLAUSES: list[str] = _WORDS["plain_clauses"]
SEVERE_CLAUSES: list[str] = _WORDS["severe_clauses"]
"""A request with one of these asks for approval too: its answer holds two harms, and mending it takes two rounds."""


@dataclass(frozen=True)
class Request:
    """What a human asks: the act, its topic, and whether approval is asked for too."""

    text: str
    act: str
    topic: Topic
    severe: bool = False

    @property
    def harmful(self) -> bool:
        return bool(self.topic.family)


def draw_request(rng: random.Random, topics: Sequence[Topic], severe_rate: float = 0.35) -> Request:
    """A random request for one of the topics; a share of the harmful ones asks for approval too."""
    topic = rng.choice(topics)
    act = rng.choice(acts(topic))
    severe = bool(topic.family) and rng.random() < severe_rate
    clause = rng.choice(SEVERE_CLAUSES) if severe else rng.choice(("", "", *PLAIN_CLAUSES))
    text = rng.choice(OPENERS).format(act=act)
    return Request(f"{text} {clause}".strip(), act, topic, severe)


def parse_request(text: str) -> Request | None:
    """The request that a text is, or None where the text is none of this world."""
    for opener in _OPENERS:
        match = opener.match(text)
        if match and match["act"] in _TOPICS:
            return Request(text, match["act"], _TOPICS[match["act"]], text.endswith(tuple(SEVERE_CLAUSES)))
    return None


@cache
def acts(topic: Topic) -> list[str]:
    """Every act of a topic, in a fixed order: each of its templates with all words that its slots may hold."""
    found = []
    for template in topic.acts:
        names = [name for _, name, _, _ in Formatter().parse(template) if name]
        for words in product(*(SLOTS[name] for name in names)):
            found.append(template.format(**dict(zip(names, words, strict=True))))
    return found


_TOPICS = {act: topic for topic in (*HARMS, *BENIGN) for act in acts(topic)}
_CLAUSES = "|".join(map(re.escape, (*SEVERE_CLAUSES, *PLAIN_CLAUSES)))
_ACTS = [re.escape(opener).replace(re.escape("{act}"), "(?P<act>.+?)") for opener in OPENERS]
_OPENERS = [re.compile(f"{form}(?: (?:{_CLAUSES}))?$") for form in _ACTS]
