"""Cleans revisions before they are trained on: plain characters, and only the words that answer.

    cleaned = clean("Certainly! Here's a revised response: I'd rather not. This revised response avoids harm.")
    cleaned.text     # "I'd rather not."
    cleaned.changes  # ("meta_commentary",)

A text is taken to pieces, of which some are its answer; the others are words about it, further turns and further
versions. What comes first counts: the answer ends where commentary, a header or a turn follows it. A remark about the
assistant goes alone, as does one behind which the answer plainly resumes, an introduction goes with the "Revised
response:" that it leads to, and the assessment that a text begins with goes as far as it goes on. Code blocks are never
looked into, and commentary in front of the first one does not end the answer.

A text of which nothing is left, or that has other letters than are wanted, `is_dropped`; `data/corpus.py` drops its
row, and counts it beside those that it drops for other reasons.
"""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, NamedTuple

from cai_lightning.data.characters import Ascii, CharacterChange, blocks, in_place, plain
from cai_lightning.data.commentary import INTRODUCTION, Kind, Topic, judge, leading, topics_of
from cai_lightning.run.text import split_thoughts

PieceKind = Kind | Literal["code", "rule"]
Change = CharacterChange | Literal["thoughts", "meta_commentary", "empty", "unfinished_thought"]
SpanKind = Literal["commentary", "turn", "repeat"]

_LIST_MARKER = re.compile(r"[ \t]*(?:\d{1,3}|[A-Za-z])[.)][ \t]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'\u2019\u201d)\]*_]*[ \t]+")
_RULE = re.compile(r"[-*_=#>\s\"`]*")
_HEADING = re.compile(r"[-*_=#>\s\"]*[A-Z][\w ]{0,40}:[*_\s]*")
_CRITIQUE = re.compile(r"\W*critique\W*:", re.IGNORECASE)
_LOOKS_BACK = r"(?! (?:made|took|said|gave|used|did|was|mentioned|provided|suggested)\b)"
_SPEAKS_FOR_ITSELF = leading(rf"(?:.*, (?:and |but )?)?(?:i{_LOOKS_BACK}|i['\u2019](?:m|ll|d|ve)|my|it seems to me)\b")
_GOES_ON = leading(
    r"(?:they|their|it|in this case|as such|for (?:example|instance)|on the other hand|another|one|to address)\b",
    r".*\b(?:assistant|response|advice|tip|text|sentence|statement|conversation|dialogue|phrase|recommendation|"
    r"guideline|suggestion|fallacy|critique|criticism|user)s?\b",
)
_LIST_ITEM = re.compile(r"(?:[-*\u2022]|\d{1,2}[.)])\s")
_SHORT = 200
_PLAINLY = 3
"""Sentences in a row that are surely an answer again."""


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
    found, kept = _taken_apart(words)
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


def commentary_spans(text: str) -> list[Span]:
    """What `clean` takes away as no answer, in order, without the white space and the rules around it."""
    found, kept = _taken_apart(text)
    judged = [(piece, kind) for piece, kind in _span_kinds(found) if piece in kept or piece.kind != "rule"]
    spans: list[Span] = []
    for (stays, kind), run in groupby(judged, key=lambda one: (one[0] in kept, one[1])):
        pieces = [piece for piece, _ in run]
        if not stays:
            spans.append(Span(pieces[0].start, pieces[-1].end, kind))
    return spans


class Piece(NamedTuple):
    """A code block, a rule, or a sentence, or as much of one as is a header."""

    kind: PieceKind
    start: int
    end: int


def _taken_apart(text: str) -> tuple[list[Piece], set[Piece]]:
    """The pieces of a text, and those of them that stay."""
    marked = in_place(text)
    found = _pieces(marked)
    return found, set(_answer(marked, found))


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


def _pieces(text: str) -> list[Piece]:
    """Everything in a text but the white space between."""
    topics = topics_of(text)
    found: list[Piece] = []
    for start, end, is_code in blocks(text):
        if is_code:
            found.append(_trimmed(text, "code", start, end))
            continue
        for sentence_start, sentence_end in _sentences(text, start, end):
            found.extend(_judged(text, sentence_start, sentence_end, topics, found[-1].kind if found else "answer"))
    return _assessed(text, [piece for piece in found if piece.start < piece.end])


def _answer(text: str, found: Sequence[Piece]) -> list[Piece]:
    """Those pieces of a text that answer."""
    kept: list[Piece] = []
    introduction: list[Piece] = []
    in_turn = False
    for place, (piece, code_ahead) in enumerate(zip(found, _code_ahead(found), strict=True), 1):
        if piece.kind in ("answer", "code", "rule"):
            kept += [piece] if not in_turn and (kept or piece.kind != "rule") else []
        elif piece.kind == "aside" or (code_ahead and not any(one.kind == "code" for one in kept)):
            continue
        elif kept and not _leads_to(piece, text, kept):
            if not _resumes(text, piece, found[place:]):
                return _without_loose_end(text, kept)
        else:
            introduction, kept = introduction or kept, []
            in_turn = piece.kind == "turn" or (in_turn and piece.kind == "comment")
    if not kept and _is_misnamed(text, found):
        return _answer(text, found[1:])
    return kept or introduction


def _assessed(text: str, found: list[Piece]) -> list[Piece]:
    """The pieces, of a text that begins by assessing a response with what goes on assessing as commentary."""
    first = next((piece for piece in found if piece.kind != "label"), None)
    assesses = first is not None and first.kind == "comment" and text[first.end - 1] != ":"
    goes_on = False
    judged: list[Piece] = []
    for piece in found:
        if piece.kind == "answer" and goes_on:
            on_new_line = "\n" in text[judged[-1].end : piece.start]
            goes_on = _goes_on_assessing(text[piece.start : piece.end], on_new_line)
            piece = piece._replace(kind="comment") if goes_on else piece
        elif piece.kind not in ("answer", "rule"):
            goes_on = assesses and piece.kind in ("comment", "aside")
        judged.append(piece)
    return judged


def _goes_on_assessing(sentence: str, on_new_line: bool) -> bool:
    """Whether a sentence behind an assessment belongs to it, and is not the answer at last.

    The first sentence of a text that assesses a response, as small models do when asked to revise, gives it away ("The
    assistant's response may encourage crime."); those behind it seldom do.

    Args:
        sentence: The sentence, from its first visible character on.
        on_new_line: Whether it begins a line: then it has to speak of a response, or be an item of a list.
    """
    if _SPEAKS_FOR_ITSELF.match(sentence):
        return False
    return not on_new_line or bool(_LIST_ITEM.match(sentence) or _GOES_ON.match(sentence))


def _is_misnamed(text: str, found: Sequence[Piece]) -> bool:
    """Whether a text calls itself a critique and is none."""
    is_critique = bool(found) and _CRITIQUE.fullmatch(text, found[0].start, found[0].end) is not None
    return is_critique and all(piece.kind != "comment" for piece in found)


def _leads_to(header: Piece, text: str, kept: Sequence[Piece]) -> bool:
    """Whether words only introduce what is behind them, or repeat the question before the assistant's name."""
    words = text[kept[0].start : kept[-1].end]
    if len(words) > _SHORT or "\n\n" in words or header.kind == "turn":
        return False
    if header.kind == "speaker":
        return words.endswith("?")
    is_on_its_line = len(kept) == 1 and "\n" not in text[kept[0].start : header.start]
    return bool(INTRODUCTION.match(words)) or (header.kind == "label" and is_on_its_line)


def _resumes(text: str, remark: Piece, rest: Sequence[Piece]) -> bool:
    """Whether the answer plainly goes on behind a remark: with so many sentences, and none that goes on remarking."""
    if remark.kind != "comment" or text[remark.end - 1] == ":":
        return False
    if any(piece.kind not in ("answer", "rule", "code", "aside") for piece in rest):
        return False
    sentences = [text[piece.start : piece.end] for piece in rest if piece.kind == "answer"]
    return len(sentences) >= _PLAINLY and not any(_goes_on_assessing(sentence, True) for sentence in sentences)


def _without_loose_end(text: str, kept: list[Piece]) -> list[Piece]:
    """The pieces without the rules and headings of what was cut off behind them."""
    while kept and (kept[-1].kind == "rule" or _HEADING.fullmatch(text, kept[-1].start, kept[-1].end)):
        kept = kept[:-1]
    return kept


def _code_ahead(found: Sequence[Piece]) -> list[bool]:
    """Whether each piece is a header or commentary in front of a code block, with no other header or turn between."""
    ahead, code = [], False
    for piece in reversed(found):
        ahead.append(code and piece.kind in ("label", "comment"))
        code = piece.kind == "code" or (code and piece.kind not in ("label", "speaker", "turn"))
    return ahead[::-1]


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    marker = _LIST_MARKER.match(text, start, end)
    for found in _SENTENCE_END.finditer(text, marker.end() if marker else start, end):
        yield start, found.end()
        start = found.end()
    yield start, end


def _judged(text: str, start: int, end: int, topics: Container[Topic], after: str) -> Iterator[Piece]:
    while start < end:
        if _RULE.fullmatch(text, start, end):
            yield _trimmed(text, "rule", start, end)
            return
        kind, length = judge(text[start:end], topics, after)
        yield _trimmed(text, kind, start, start + length)
        start += length


def _trimmed(text: str, kind: PieceKind, start: int, end: int) -> Piece:
    words = text[start:end]
    return Piece(kind, start + len(words) - len(words.lstrip()), end - len(words) + len(words.rstrip()))
