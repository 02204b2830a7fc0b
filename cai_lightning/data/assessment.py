"""How far a text goes on that assesses a response instead of giving one, as small models do when asked to revise.

    goes_on_assessing("For example, the advice to wait may encourage crime.", on_new_line=True)  # True
    goes_on_assessing("I can't help with that.", on_new_line=False)                              # False

The first sentence of such a text gives it away ("The assistant's response may encourage crime."), those behind it
seldom do.
"""

import re

from cai_lightning.data.commentary import leading

_LOOKS_BACK = r"(?! (?:made|took|said|gave|used|did|was|mentioned|provided|suggested)\b)"
_SPEAKS_FOR_ITSELF = leading(rf"(?:.*, (?:and |but )?)?(?:i{_LOOKS_BACK}|i['\u2019](?:m|ll|d|ve)|my|it seems to me)\b")
_GOES_ON = leading(
    r"(?:they|their|it|in this case|as such|for (?:example|instance)|on the other hand|another|one|to address)\b",
    r".*\b(?:assistant|response|advice|tip|text|sentence|statement|conversation|dialogue|phrase|recommendation|"
    r"guideline|suggestion|fallacy|critique|criticism|user)s?\b",
)
_LIST_ITEM = re.compile(r"(?:[-*\u2022]|\d{1,2}[.)])\s")


def goes_on_assessing(sentence: str, on_new_line: bool) -> bool:
    """Whether a sentence behind an assessment belongs to it, and is not the answer at last.

    Args:
        sentence: The sentence, from its first visible character on.
        on_new_line: Whether it begins a line: then it has to speak of a response, or be an item of a list.
    """
    if _SPEAKS_FOR_ITSELF.match(sentence):
        return False
    return not on_new_line or bool(_LIST_ITEM.match(sentence) or _GOES_ON.match(sentence))
