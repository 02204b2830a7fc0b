"""Texts cut into windows, and windows put together into requests of so many tokens. Pure functions."""

from collections.abc import Iterator, Sequence

BYTES_PER_TOKEN = 4
"""Where a server does not say what a request takes, it is estimated from the text."""

Window = tuple[int, str]
"""A part of a text, with the number of the text that it is a part of."""


def tokens_of(text: str) -> int:
    """The tokens of a text, about."""
    return 1 + len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN


def windows_of(text: str, size: int, overlap: int) -> list[str]:
    """The windows of `size` characters that cover a text, each beginning `overlap` characters before the last's end.

    >>> windows_of("abcdefgh", 4, 1)
    ['abcd', 'defg', 'gh']
    """
    starts = range(0, max(1, len(text) - overlap), size - overlap)
    return [text[start : start + size] for start in starts]


def batches_of(windows: Sequence[Window], tokens: int) -> Iterator[list[Window]]:
    """The windows in their order, in batches of so many tokens at most, but for a window that has more."""
    batch: list[Window] = []
    taken = 0
    for window in windows:
        if batch and taken + tokens_of(window[1]) > tokens:
            yield batch
            batch, taken = [], 0
        batch.append(window)
        taken += tokens_of(window[1])
    if batch:
        yield batch
