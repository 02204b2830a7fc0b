"""What counts as a word in a text of any script.

words("Baking bread.")  # ["Baking", "bread."]
words("烤面包")          # ["烤", "面", "包"]: no blanks part the words there, so each character stands for itself
"""

import re

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""The characters of scripts whose words no blanks part: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""

_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text: what stands between blanks, and each character of a script that has none."""
    return _WORD.findall(text)
