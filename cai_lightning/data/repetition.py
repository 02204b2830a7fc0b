r"""How much of a text says again what it has said before: a model that goes round in circles is told by it.

What counts as a word in a text of any script.

words("Baking bread.")  # ["Baking", "bread."]
words("烤面包")          # ["烤", "面", "包"]: no blanks part the words there, so each character stands for itself

repeated_ngrams("I can help. I can help. I can help. I can help.")  # 0.67
repeated_lines("Rest.\nDrink water.\nRest.")                        # 0.33
"""

import re
from collections.abc import Hashable, Sequence

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""The characters of scripts whose words no blanks part: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""

_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text: what stands between blanks, and each character of a script that has none."""
    return _WORD.findall(text)


WORDS = 4
"""Words that have to come again in the same order. Texts that do not loop repeat a few, such as names and headings."""

LOOPING = 0.3
"""Share of repeated 4-grams above which a text is said to loop. Of 979 answers of Mistral-7B 14 are above it, of 979
revisions 19; nearly all of them go round in circles or give their answer twice."""


def repeated_ngrams(text: str) -> float:
    """The share of a text's 4-grams of words that stand before in it, from 0 to 1; 0 where it has fewer than 4 words.

    Args:
        text: A text in any script, see `cai_lightning.data.repetition.words`.
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
