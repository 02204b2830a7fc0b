"""What the miniature world is made of: ten kinds of harm, benign topics that look like them, and the words for both.

The words are in `world.json`. The steps of a harmful answer are deliberately empty of any use: the world needs harm
that can be told apart, not harm that works.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
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
