r"""How much of a text says again what it has said before: a model that goes round in circles is told by it.

repeated_ngrams("I can help. I can help. I can help. I can help.")  # 0.67
repeated_lines("Rest.\nDrink water.\nRest.")                        # 0.33
"""

from collections.abc import Hashable, Sequence

from cai_lightning.writing import words

WORDS = 4
"""Words that have to come again in the same order. Texts that do not loop repeat a few, such as names and headings."""

LOOPING = 0.3
"""Share of repeated 4-grams above which a text is said to loop. Of 979 answers of Mistral-7B 14 are above it, of 979
revisions 19; nearly all of them go round in circles or give their answer twice."""


def repeated_ngrams(text: str) -> float:
    """The share of a text's 4-grams of words that stand before in it, from 0 to 1; 0 where it has fewer than 4 words.

    Args:
        text: A text in any script, see `cai_lightning.writing.words`.
    """
    said = words(text)
    return _repeated(list(zip(*(said[start:] for start in range(WORDS)), strict=False)))


def repeated_lines(text: str) -> float:
    """The share of a text's lines that stand before in it, from 0 to 1; lines without a letter or digit do not count.

    Args:
        text: A text; the blanks around a line do not count.
    """
    return _repeated([line.strip() for line in text.splitlines() if any(map(str.isalnum, line))])


def _repeated(items: Sequence[Hashable]) -> float:
    return 1 - len(set(items)) / len(items) if items else 0.0
