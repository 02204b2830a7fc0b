"""What a model thinks before it speaks, told apart from its words: text between `<think>` and `</think>`.

split_thoughts("<think>They ask for a capital.</think> Paris.")  # ("Paris.", "They ask for a capital.")
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

OPEN, CLOSE = "<think>", "</think>"

_TAG_OR_CODE = re.compile(rf"(?P<tag>{OPEN}|{CLOSE})|```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)


class Said(NamedTuple):
    """What a model said: its words, and its thoughts before and between them; None where it had none."""

    words: str
    thought: str | None


def split_thoughts(text: str, opened: bool = False) -> Said:
    """The words of a text without its thoughts; none where nothing but an unfinished thought stands there. A text
    without thoughts stays as it is.

    A thought that is never closed runs to the end of the text. One that is only closed began before the text did: some
    chat templates write `<think>` themselves. Tags in code are words.

    Args:
        text: What a model wrote.
        opened: Whether it is known that the thought began before the text did.
    """
    words, thoughts, place, inside = [""], list[str](), 0, opened
    while True:
        if inside:
            end = text.find(CLOSE, place)
            thoughts.append(text[place : end if end >= 0 else len(text)].strip().removeprefix(OPEN))
            if end < 0:
                break
            place = end + len(CLOSE)
        tag = next((found for found in _TAG_OR_CODE.finditer(text, place) if found["tag"]), None)
        words.append(text[place : tag.start() if tag else len(text)])
        if tag is None:
            break
        inside, place = tag["tag"] == OPEN, tag.end()
        if not inside and not thoughts:
            thoughts.append("".join(words))
            words = [""]
    rest = "".join(words)
    return Said(rest.strip() if place or opened else rest, joined(thoughts))


def joined(thoughts: Iterable[str | None]) -> str | None:
    """Several thoughts as one; None where there is none, or nothing in them."""
    return "\n\n".join(stripped for thought in thoughts if thought and (stripped := thought.strip())) or None


def why_silent(words: str, thought: str | None, blank: str = "empty reply") -> str | None:
    """Why a reply is none: it is `blank`, or its thought came to no words; None where it has words."""
    if words.strip():
        return None
    return "unfinished thought" if thought else blank
