r"""Text that a model, a download or a server wrote: thoughts told from words, JSON read safely, both shown harmlessly.

    split_thoughts("<think>They ask for a capital.</think> Paris.")  # ("Paris.", "They ask for a capital.")
    parse_json(response.content)  # whatever is wrong with it is a ValueError
    printable("red\x1b[31m\nline")  # one line of a terminal, in which the colour is an escape: red\x1b[31m line
    escape_markdown("<b>|")  # &lt;b&gt;\|

HTML is escaped by the page's Jinja templates.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from unicodedata import category

OPEN, CLOSE = "<think>", "</think>"
"""What a thought stands between."""

_THOUGHT_OR_CODE = re.compile(
    rf"{OPEN}(?P<thought>.*?)(?:{CLOSE}|\Z)|(?P<end>{CLOSE})|```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL
)

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's controls, formats (such as a change of direction), lone surrogates, and separators of lines."""

_HARMLESS = frozenset("\n\t\u200c\u200d")
"""Among them what belongs into texts: ends of lines, tabs, and what joins or parts letters and emoji."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKUP = re.compile(r"([\\`*_\[\]|~#!])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_FORMULA = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet would compute."""


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
    text = OPEN + text if opened else text
    words, thoughts, place = list[str](), list[str](), 0
    for part in _THOUGHT_OR_CODE.finditer(text):
        if part.lastgroup:
            words.append(text[place : part.start()])
            place = part.end()
        if part.lastgroup == "thought":
            thoughts.append(part["thought"].strip().removeprefix(OPEN))
        elif part.lastgroup == "end" and not thoughts:
            words, thoughts = [], ["".join(words)]
    said = "".join([*words, text[place:]])
    return Said(said.strip() if thoughts else said, join_thoughts(thoughts))


def join_thoughts(thoughts: Iterable[str | None]) -> str | None:
    """Several thoughts as one; None where there is none, or nothing in them."""
    return "\n\n".join(stripped for thought in thoughts if thought and (stripped := thought.strip())) or None


def why_silent(words: str, thought: str | None, blank: str = "empty reply") -> str | None:
    """Why a reply is none: it is `blank`, or its thought came to no words; None where it has words."""
    if words.strip():
        return None
    return "unfinished thought" if thought else blank


def printable(text: str) -> str:
    """The text on one line, with what a terminal would obey instead of show written as escapes."""
    return printable_lines(" ".join(text.split()))


def printable_lines(text: str) -> str:
    """Likewise, but its lines and tabs stay."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n")
    return "".join(c if c in _HARMLESS or category(c) not in _OBEYED else ascii(c)[1:-1] for c in lines)


def excerpt(value: object, longest: int = 80) -> str:
    """A value as messages show it: on one line, cut at so many characters."""
    text = repr(value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else value)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def escape_markdown(text: str) -> str:
    """The text in Markdown, shown and not obeyed."""
    return _MARKUP.sub(r"\\\1", text.translate(_ENTITIES))


def code_span(value: object, longest: int = 200) -> str:
    """A value as code on one line of Markdown, in which marks and tags are only characters; nothing of an empty one."""
    line = printable(str(value)).replace("`", "'")
    shown = line if len(line) <= longest else line[: longest - 3] + "..."
    return f"`{shown}`" if shown else ""


def spreadsheet_cell(text: str) -> str:
    """The text on one line that no spreadsheet takes for a formula."""
    line = printable(text)
    return f"'{line}" if line.startswith(_FORMULA) else line


def whole_characters(value: Any) -> Any:
    """A value of JSON with U+FFFD for every half character (a lone surrogate), which no tokenizer reads."""
    if isinstance(value, str):
        return value if value.isascii() else _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(key): whole_characters(item) for key, item in value.items()}
    return value


def parse_json(text: str | bytes, each_object: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """What somebody else's JSON says, in whole characters.

    Args:
        text: It, in UTF-8 where it is bytes.
        each_object: What is made of the keys and values of each object; a dictionary by default.

    Raises:
        ValueError: It is no JSON, or nested deeper than can be read.
    """
    try:
        return whole_characters(json.loads(text, object_pairs_hook=each_object))
    except RecursionError:
        raise ValueError("nested too deep") from None


def whole_json(text: bytes) -> bytes:
    """JSON in whole characters: the text itself where nothing in it has to be replaced, or where it is no JSON."""
    if not (b"\xed" in text or (b"\\u" in text and b"\\ud" in text.lower())):  # with which half a character begins
        return text
    try:
        whole = parse_json(text)
    except ValueError:
        return text
    return text if whole == json.loads(text) else json.dumps(whole).encode()
