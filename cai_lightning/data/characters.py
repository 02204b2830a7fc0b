"""The characters of a text made plain: marks as a keyboard has them, plain accents in English words, code untouched.

    plain("The cook\u2019s own caf\u00e9 is open \u2013 and you\u2019re welcome.", "typography")
    # Plain("The cook's own cafe is open - and you're welcome.", ("typography", "accents"))

Nothing is transliterated. Code, between fences or backticks, keeps every character, and so do other scripts. What is a
symbol stays one (a fraction, the slash in it, a minus, a prime, a bullet, an arrow, a currency, an emoji), as do
guillemets, which other languages write. A line with East Asian letters keeps its quotes, dashes and ellipses: they are
that script's own.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

FENCE = re.compile(r"[\s>]*(?:```|~~~)")
INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
"""Characters that have no width: soft hyphen, zero-width space, joiners, marks of direction, byte order mark."""

_INLINE_CODE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)


Ascii = Literal["typography", "all", "off"]
CharacterChange = Literal["typography", "accents", "not_ascii", "other_letters"]

_MARKS = {
    **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", "-"),
}
_SPACES = {
    **dict.fromkeys("\u00a0\u202f\u205f" + "".join(map(chr, range(0x2000, 0x200B))), " "),
    **dict.fromkeys("\u0085\u2028", "\n"),
}
_LIGATURES = {letters: unicodedata.normalize("NFKD", letters) for letters in map(chr, range(0xFB00, 0xFB07))}
_LATIN = {
    **{"\u00df": "ss", "\u1e9e": "SS", "\u00c6": "AE", "\u00e6": "ae", "\u0152": "OE", "\u0153": "oe"},
    **{"\u00d8": "O", "\u00f8": "o", "\u00d0": "D", "\u00f0": "d", "\u0110": "D", "\u0111": "d", "\u00de": "Th"},
    **{"\u00fe": "th", "\u0141": "L", "\u0142": "l", "\u0126": "H", "\u0127": "h", "\u0131": "i"},
    **dict.fromkeys("\u02bb\u02bc", "'"),
}
_IN_PLACE = str.maketrans(_MARKS | _SPACES)
_ON_EVERY_LINE = str.maketrans({**_SPACES, **_LIGATURES, "\u2029": "\n\n"})
_ON_OTHER_LINES = str.maketrans({**_MARKS, "\u2026": "..."})
_WITHOUT_STROKE = str.maketrans(_LATIN)

_EAST_ASIAN = re.compile(
    r"[\u2e80-\u2fdf\u3005-\u3007\u3040-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_DASH_BETWEEN_WORDS = re.compile(r"(?<=\w)[\u2014\u2015](?=\w)")
_UNSEEN = re.compile(f"[{INVISIBLE}]+")
_JOINERS = "\u200b\u200c\u200d"
_DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_WORD = re.compile(r"(?:[^\W\d_][\u0300-\u036f]*){2,}")
_LATIN_LETTER = re.compile(r"[A-Za-z\u00c0-\u024f\u02bb\u02bc\u1e00-\u1eff][\u0300-\u036f]*")
_ENGLISH = 0.95


class Plain(NamedTuple):
    """A text in plain characters, and what was done to it.

    Args:
        text: What it is now.
        changes: `typography` where marks, spaces or invisible characters were mended, `accents` where some were taken
            off, `not_ascii` where other characters are left outside of code, `other_letters` where under `all` letters
            are among them.
    """

    text: str
    changes: tuple[CharacterChange, ...] = ()


def plain(text: str, ascii: Ascii) -> Plain:
    """Makes the characters of a text plain.

    Args:
        text: Any text, code in it as Markdown has it.
        ascii: `typography` mends marks, and takes accents off the words of an English text; `all` takes off all
            accents of Latin letters; `off` changes nothing.
    """
    if text.isascii():
        return Plain(text)
    mended = text if ascii == "off" else _mended(text)
    loses_accents = ascii == "all" or (ascii == "typography" and _is_english(mended))
    bare = _without_accents(mended, ascii) if loses_accents else mended
    left = "".join(_prose(bare))
    told: dict[CharacterChange, bool] = {
        "typography": mended != text,
        "accents": bare != mended,
        "not_ascii": not left.isascii(),
        "other_letters": ascii == "all" and not all(map(str.isascii, filter(str.isalpha, left))),
    }
    return Plain(bare, tuple(change for change, true in told.items() if true))


def in_place(text: str) -> str:
    """The text with those marks mended that stand for one character, so that no other one moves."""
    return text.translate(_IN_PLACE)


def _mended(text: str) -> str:
    directed = _RIGHT_TO_LEFT.search(text) is not None
    seen = _outside(code_spans(text), text, lambda prose: _UNSEEN.sub(lambda run: _meant(run, directed), prose))
    spaced = _outside(code_spans(seen), seen, lambda prose: prose.translate(_ON_EVERY_LINE))
    own = [line.span() for line in re.finditer(r"[^\n]+", spaced) if _EAST_ASIAN.search(line[0])]
    kept = [*code_spans(spaced), *own]
    return _outside(kept, spaced, lambda prose: _DASH_BETWEEN_WORDS.sub(" - ", prose).translate(_ON_OTHER_LINES))


def _meant(run: re.Match[str], directed: bool) -> str:
    """Of a run of invisible characters those that mean something: joiners in other scripts and emoji, directions."""
    before = run.string[run.start() - 1 : run.start()]
    kept = (_JOINERS if _takes_joiners(before) else "") + (_DIRECTIONS if directed else "")
    return "".join(character for character in run[0] if character in kept)


def _takes_joiners(character: str) -> bool:
    is_latin = character < "\u0370" or "\u1e00" <= character <= "\u1eff" or character in _LIGATURES
    return not is_latin and unicodedata.category(character)[0] in "LMS"


def _is_english(text: str) -> bool:
    letters = [letter for letter in unicodedata.normalize("NFC", "".join(_prose(text))) if letter.isalpha()]
    return sum(map(str.isascii, letters)) >= _ENGLISH * len(letters)


def _without_accents(text: str, ascii: Ascii) -> str:
    """Under `typography` letters that stand alone keep theirs: they are units and variables."""
    if ascii == "all":
        return _outside(code_spans(text), text, lambda prose: _LATIN_LETTER.sub(_bare, prose))
    return _outside(code_spans(text), text, lambda p: _WORD.sub(lambda word: _LATIN_LETTER.sub(_bare, word[0]), p))


def _bare(letter: re.Match[str]) -> str:
    base = unicodedata.normalize("NFD", letter[0])[0].translate(_WITHOUT_STROKE)
    return base if base.isascii() else letter[0]


def _prose(text: str) -> Iterator[str]:
    return (stretch for stretch, is_prose in _stretches(code_spans(text), text) if is_prose)


def _outside(kept: Iterable[tuple[int, int]], text: str, change: Callable[[str], str]) -> str:
    return "".join(change(stretch) if is_free else stretch for stretch, is_free in _stretches(kept, text))


def _stretches(kept: Iterable[tuple[int, int]], text: str) -> Iterator[tuple[str, bool]]:
    """A text in order, and whether each stretch of it lies outside of the spans that are kept."""
    end = 0
    for start, behind in sorted(kept):
        if behind > end:
            yield text[end : max(start, end)], True
            yield text[max(start, end) : behind], False
            end = behind
    yield text[end:], True


def blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """The lines of a text, those of one code block together: start, end, and whether it is code.

    A block that is never closed runs to the end.
    """
    start, code = 0, None
    for line in text.splitlines(keepends=True):
        end = start + len(line)
        if FENCE.match(line):
            if code is not None:
                yield code, end, True
            code = start if code is None else None
        elif code is None:
            yield start, end, False
        start = end
    if code is not None:
        yield code, start, True


def code_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of all code, in order; what is invisible hides no fence and no backtick."""
    places = [place for place, character in enumerate(text) if character not in INVISIBLE]
    visible = "".join(text[place] for place in places)
    for start, end, is_code in blocks(visible):
        inline = (found.span() for found in _INLINE_CODE.finditer(visible, start, end))
        for first, behind in [(start, end)] if is_code else inline:
            yield places[first], places[behind - 1] + 1
