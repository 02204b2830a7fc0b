"""Cleans revisions before they are trained on: plain characters, and only the words that answer.

cleaned = clean("Certainly! Here's a revised response: I'd rather not. This revised response avoids harm.")
cleaned.text     # "I'd rather not."
cleaned.changes  # ("meta_commentary",)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cai_lightning.data.answer import Piece, answer, pieces
from cai_lightning.data.characters import Ascii, CharacterChange, in_place, plain
from cai_lightning.thoughts import split_thoughts

Change = CharacterChange | Literal["thoughts", "meta_commentary", "empty", "unfinished_thought"]
SpanKind = Literal["commentary", "turn", "repeat"]


@dataclass(frozen=True)
class Cleaned:
    """A cleaned text and what was done to it.

    Args:
        text: What is left.
        changes: What became of its characters (see `Plain`), `thoughts` or `meta_commentary` where some were removed;
            where nothing is left `unfinished_thought` if it was one, `empty` otherwise.
        words: The text without its thoughts, before anything else was done to it.
        has_words_behind: Whether some of what was stripped stood behind all that is left. The writer had then come to
            the end of the answer, even where the text as a whole was cut.
    """

    text: str
    changes: tuple[Change, ...] = ()
    words: str = field(default="", compare=False)
    has_words_behind: bool = field(default=False, compare=False)

    @property
    def is_dropped(self) -> bool:
        """Whether there is nothing in it to learn from: no word, or letters that were not to be there."""
        return not {"empty", "unfinished_thought", "other_letters"}.isdisjoint(self.changes)


class Span(NamedTuple):
    """Characters of a text that are no answer.

    Args:
        start: The first character, counted from 0.
        end: Behind the last character.
        kind: `commentary`, words about the response; `turn`, a further turn that nobody asked for; `repeat`, a second
            version of the answer.
    """

    start: int
    end: int
    kind: SpanKind


def clean(text: str, ascii: Ascii = "typography") -> Cleaned:
    """Strips a text of thoughts and meta-commentary, and makes its characters plain, as far as `plain` is asked to."""
    words, thought = split_thoughts(text)
    found, kept = _sorted(words)
    stripped = _joined(words, found, kept)
    made, characters = plain(stripped, ascii)
    changes: list[Change] = list(characters)
    if words != text:
        changes.append("thoughts")
    if stripped != words:
        changes.append("meta_commentary")
    if not made.strip():
        changes.append("unfinished_thought" if thought and not words else "empty")
    end = max((piece.end for piece in kept), default=len(words))
    goes_on = any(piece.start >= end and piece.kind != "rule" for piece in found)
    return Cleaned(made, tuple(changes), words, goes_on)


def strip_meta_commentary(text: str) -> str:
    """The answer in a text, without words about the response and without turns that nobody asked for."""
    return _joined(text, *_sorted(text))


def commentary_spans(text: str) -> list[Span]:
    """What `strip_meta_commentary` takes away, in order, without the white space and the rules around it."""
    found, kept = _sorted(text)
    spans: list[Span] = []
    touches = False
    for piece, kind in _span_kinds(found):
        if piece in kept:
            touches = False
        elif piece.kind != "rule":
            start = spans.pop().start if touches and spans[-1].kind == kind else piece.start
            spans.append(Span(start, piece.end, kind))
            touches = True
    return spans


def _sorted(text: str) -> tuple[list[Piece], set[Piece]]:
    """The pieces of a text, and those of them that stay."""
    marked = in_place(text)
    found = pieces(marked)
    return found, set(answer(marked, found))


def _joined(text: str, found: Sequence[Piece], kept: set[Piece]) -> str:
    """The pieces that stay, with the widest white space that stood between them."""
    if all(piece in kept or piece.kind == "rule" for piece in found):
        return text
    parts: list[str] = []
    space, end = "", 0
    for piece in found:
        space = max(space, text[end : piece.start], key=len)
        end = piece.end
        if piece in kept:
            parts += [space if parts else "", text[piece.start : end]]
            space = ""
    return "".join(parts)


def _span_kinds(found: Sequence[Piece]) -> Iterator[tuple[Piece, SpanKind]]:
    """What each piece is if it is no answer, which depends on what stands before it."""
    kind: SpanKind = "commentary"
    for piece in found:
        if piece.kind == "turn" or (kind == "turn" and piece.kind != "label"):
            kind = "turn"
        elif piece.kind not in ("answer", "code", "rule"):
            kind = "commentary"
        yield piece, kind
        if piece.kind in ("label", "speaker") and kind != "turn":
            kind = "repeat"
