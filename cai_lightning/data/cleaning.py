"""Cleans revisions before they are trained on: plain ASCII, and only the words that answer.

cleaned = clean("Certainly! Here's a revised response: I'd rather not. This revised response avoids harm.")
cleaned.text     # "I'd rather not."
cleaned.changes  # ("meta_commentary",)
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, groupby
from typing import Literal, NamedTuple

from anyascii import anyascii

from cai_lightning.data.commentary import Kind, introduces, judge, speaks_of_responses

Change = Literal["ascii", "meta_commentary", "empty"]
_Fate = Literal["commentary", "turn", "repeat", "answer"]

_LINE_SEPARATORS = str.maketrans({"\u0085": "\n", "\u2028": "\n", "\u2029": "\n\n"})
_FENCE = re.compile(r"[ \t>]*(?:```|~~~)")
_LIST_MARKER = re.compile(r"[ \t]*(?:\d{1,3}|[A-Za-z])[.)][ \t]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'\u2019\u201d)\]*_]*[ \t]+")
_SEPARATOR = re.compile(r"[-*_=#>\s\"]*")
_DANGLING_HEADING = re.compile(r"[-*_=#>\s\"]*(?:[A-Z][\w ]{0,40}:[*_\s]*)?")
_ORIGINAL = re.compile(
    r"^[^\w\n]*+original(?:[ \t]+(?!response|answer|reply)\w+)?[*_]*[ \t]*:", re.IGNORECASE | re.MULTILINE
)
_INTRODUCTION_LENGTH = 200


@dataclass(frozen=True)
class Cleaned:
    """A cleaned text and what was done to it.

    Args:
        text: What is left.
        changes: `ascii` where characters were transliterated, `meta_commentary` where some was removed, `empty` where
            nothing is left.
    """

    text: str
    changes: tuple[Change, ...] = ()


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
    kind: Literal["commentary", "turn", "repeat"]


def clean(text: str) -> Cleaned:
    """Strips a text of its meta-commentary and transliterates it to ASCII."""
    answer = strip_meta_commentary(text)
    plain = to_ascii(answer)
    changes: list[Change] = []
    if plain != answer:
        changes.append("ascii")
    if answer != text:
        changes.append("meta_commentary")
    if not plain.strip():
        changes.append("empty")
    return Cleaned(plain, tuple(changes))


def to_ascii(text: str) -> str:
    """The text in ASCII: typographic marks and accents transliterated, line breaks and tabs kept."""
    return anyascii(unicodedata.normalize("NFC", text.translate(_LINE_SEPARATORS)))


def strip_meta_commentary(text: str) -> str:
    """The answer in a text, without words about the response and without turns that nobody asked for.

    What comes first counts: everything behind the first commentary on an answer goes. A short introduction before a
    "Revised response:" gives way to the longer answer behind it. Code blocks are never looked into.
    """
    places = _answer_places(text)
    return "".join(text[place] for place in places) if _has_commentary(text, places) else text


def commentary_spans(text: str) -> list[Span]:
    """What `strip_meta_commentary` takes away, in order, without the white space and the rules around it."""
    places = _answer_places(text)
    if not _has_commentary(text, places):
        return []
    kinds: list[_Fate] = []
    for piece in _pieces(_plain(text)):
        in_turn = piece.kind == "turn" or (kinds and kinds[-1] == "turn")
        kind: _Fate = "turn" if in_turn else "repeat" if piece.kind in ("answer", "code") else "commentary"
        kinds.extend([kind] * len(piece.text))
    for place in places:
        kinds[place] = "answer"
    spans = []
    for kind, run in groupby(range(len(text)), kinds.__getitem__):
        words = [place for place in run if not _SEPARATOR.fullmatch(text[place])]
        if words and kind != "answer":
            spans.append(Span(words[0], words[-1] + 1, kind))
    return spans


def _has_commentary(text: str, places: Sequence[int]) -> bool:
    return len(places) < len(text.strip())


def _plain(text: str) -> str:
    """The text in ASCII where that changes no character's place."""
    return "".join(
        mark if character > "\x7f" and len(mark := to_ascii(character)) == 1 else character for character in text
    )


def _answer_places(text: str) -> list[int]:
    """The places of the characters of a text's answer."""
    places, answer = list(range(len(text))), _plain(text)
    while len(kept := _answer(answer)) < len(answer):
        places = [places[place] for place in kept]
        answer = "".join(answer[place] for place in kept)
    return places


class _Piece(NamedTuple):
    """A code block, a sentence or a label, with the white space behind it."""

    kind: Kind | Literal["code"]
    text: str
    start: int


@dataclass
class _Draft:
    """One of the answers that a text holds; a closed one takes no more of the text."""

    parts: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    has_words: bool = False
    has_code: bool = False
    is_open: bool = True

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def take(self, piece: _Piece) -> None:
        if self.is_open:
            self.parts.append(piece.text)
            self.places.extend(range(piece.start, piece.start + len(piece.text)))
            self.has_words |= not _SEPARATOR.fullmatch(piece.text)
            self.has_code |= piece.kind == "code"


def _answer(text: str) -> list[int]:
    drafts = _drafts(list(_pieces(text)), has_original=_ORIGINAL.search(text) is not None)
    if drafts[0].text == text:
        return _stripped(text, drafts[0].places)
    answers = {answer: draft for draft in reversed(drafts) if (answer := _without_separators(draft.text))}
    if not answers:
        return []
    chosen = _first_answer(list(reversed(answers)))
    head = answers[chosen].text.index(chosen)
    return answers[chosen].places[head : head + len(chosen)]


def _stripped(text: str, places: list[int]) -> list[int]:
    return places[len(text) - len(text.lstrip()) : len(text.rstrip())]


def _drafts(pieces: Sequence[_Piece], has_original: bool) -> list[_Draft]:
    """Sorts the pieces of a text into the answers it holds; what belongs to none is left out."""
    drafts = [_Draft()]
    for piece, code_ahead in zip(pieces, _code_ahead(pieces), strict=True):
        draft = drafts[-1]
        match piece.kind:
            case "turn" | "speaker" if len(drafts) > 1 or draft.has_words:
                break
            case "turn":
                draft.is_open = False
            case "label" if code_ahead and draft.is_open and not draft.has_code:
                continue
            case "label" if has_original and draft.is_open:
                draft.take(piece)
            case "label" | "speaker" if draft.has_words:
                drafts.append(_Draft())
            case "label" | "speaker":
                drafts[-1] = _Draft()
            case "comment":
                draft.is_open &= not draft.has_words or code_ahead
            case _:
                draft.take(piece)
    return drafts


def _code_ahead(pieces: Sequence[_Piece]) -> list[bool]:
    """Whether a code block follows each piece before the next label or turn does."""
    ahead, code = [], False
    for piece in reversed(pieces):
        ahead.append(code)
        code = piece.kind == "code" or (code and piece.kind in ("answer", "comment"))
    return ahead[::-1]


def _first_answer(answers: Sequence[str]) -> str:
    """The first of several answers; one that only leads up to the next gives way to it."""
    chosen = answers[0]
    for answer in answers[1:]:
        if not _leads_up(chosen, answer):
            break
        chosen = answer
    return chosen


def _leads_up(text: str, answer: str) -> bool:
    is_short = len(text) <= _INTRODUCTION_LENGTH and "\n\n" not in text
    return is_short and (introduces(text) or len(answer) > len(text))


def _pieces(text: str) -> Iterator[_Piece]:
    start = 0
    for kind, part in _parts(text, speaks_of_responses(text)):
        yield _Piece(kind, part, start)
        start += len(part)


def _parts(text: str, about_responses: bool) -> Iterator[tuple[Kind | Literal["code"], str]]:
    for block, is_code in _blocks(text):
        if is_code:
            yield "code", block
        else:
            for sentence in _sentences(block):
                yield from _judged(sentence, about_responses)


def _judged(sentence: str, about_responses: bool) -> Iterator[tuple[Kind, str]]:
    while sentence:
        kind, length = judge(sentence, about_responses)
        yield kind, sentence[:length]
        sentence = sentence[length:]


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """The lines of a text, those of one code block together; a block that is never closed runs to the end."""
    code: list[str] = []
    for line in text.splitlines(keepends=True):
        is_fence = _FENCE.match(line) is not None
        if code and is_fence:
            yield "".join([*code, line]), True
            code = []
        elif code or is_fence:
            code.append(line)
        else:
            yield line, False
    if code:
        yield "".join(code), True


def _sentences(line: str) -> Iterator[str]:
    marker = _LIST_MARKER.match(line)
    start, place = 0, marker.end() if marker else 0
    for end in _SENTENCE_END.finditer(line, place):
        yield line[start : end.end()]
        start = end.end()
    if line[start:]:
        yield line[start:]


def _without_separators(text: str) -> str:
    """The text without rules at its head, and without rules and headings of what was cut off at its tail."""
    lines = list(dropwhile(_SEPARATOR.fullmatch, text.strip().split("\n")))
    return "\n".join(reversed(list(dropwhile(_DANGLING_HEADING.fullmatch, reversed(lines))))).strip()
