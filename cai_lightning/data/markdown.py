"""Where the code stands in a text: blocks between fences, and words between backticks.

text = "Call `f(x)` first."
[text[start:end] for start, end in code_spans(text)]  # ["`f(x)`"]
"""

import re
from collections.abc import Iterator

FENCE = re.compile(r"[\s>]*(?:```|~~~)")
INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
"""Characters that have no width: soft hyphen, zero-width space, joiners, marks of direction, byte order mark."""

_INLINE_CODE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)


def blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """The lines of a text, those of one code block together: start, end, and whether it is code.

    A block that is never closed runs to the end.
    """
    start, code = 0, None
    for line in text.splitlines(keepends=True):
        end = start + len(line)
        is_fence = FENCE.match(line) is not None
        if code is None and is_fence:
            code = start
        elif code is not None and is_fence:
            yield code, end, True
            code = None
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
