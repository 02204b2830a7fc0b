"""Boilerplate: 4-grams of words that a run's answers say much more often than a reference's, whatever they are asked.

    found = said_too_often(answers, prompts, reference)
    found[0]  # Phrase(text='you are not alone', share=0.37, before=0.003)
    says_any("Please know: you are not alone.", {phrase.text for phrase in found})  # True

This is how a policy shows that it is over-trained (Bai et al. 2022, section 4.3): "you are valid, valued, and cared
for". A phrase counts where it stands in at least 5 % of the answers, and at least 5 times as often as in the
reference's, such as those of the SL-CAI model that a policy comes from. Case and punctuation do not count. One that the
reference never says is taken as said once, so that a handful of answers proves nothing; and one that stands only in the
answers to one or two prompts is what these are about.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from string import punctuation

from cai_lightning.data.defects import WORDS, words

OFTEN = 0.05
"""Share of the answers from which on a phrase may be boilerplate."""

TIMES = 5
"""How many times as often as in the reference's answers it is then said."""

FEWEST_PROMPTS = 3
"""Prompts to whose answers it belongs at least."""

_EDGES = punctuation + "\u2018\u2019\u201c\u201d\u2026\u2014"


@dataclass(frozen=True)
class Phrase:
    """A 4-gram that is said too often.

    Args:
        text: Its words in lower case, parted by blanks.
        share: Share of the answers that say it.
        before: Share of the reference's answers that do.
    """

    text: str
    share: float
    before: float


def said_too_often(answers: Sequence[str], prompts: Sequence[str], reference: Sequence[str]) -> list[Phrase]:
    """The boilerplate of some answers, what is said most often first; none where there is nothing to compare with.

    Args:
        answers: The answers; those without words do not count.
        prompts: For each of them what stands for its prompt, alike in all answers to the same one.
        reference: Answers of the reference, to the same prompts, or to such prompts.
    """
    said, asked = Counter[str](), defaultdict[str, set[str]](set)
    for answer, prompt in zip(answers, prompts, strict=True):
        for phrase in phrases(answer):
            said[phrase] += 1
            asked[phrase].add(prompt)
    before = Counter(phrase for answer in reference for phrase in phrases(answer))
    here, there = _count(answers), _count(reference)
    found = [
        Phrase(text, times / here, before[text] / there)
        for text, times in said.items()
        if there
        and len(asked[text]) >= FEWEST_PROMPTS
        and times >= OFTEN * here
        and times * there >= TIMES * max(before[text], 1) * here
    ]
    return sorted(found, key=lambda phrase: (-phrase.share, phrase.before, phrase.text))


def says_any(answer: str, texts: AbstractSet[str]) -> bool:
    """Whether an answer says one of these phrases, each as the text of a `Phrase`."""
    return not phrases(answer).isdisjoint(texts)


def worst(found: Iterable[Phrase], most: int) -> list[Phrase]:
    """The first few phrases without those that share two words in a row with one already named."""
    named: list[Phrase] = []
    for phrase in found:
        if len(named) < most and not any(_overlap(phrase.text, other.text) for other in named):
            named.append(phrase)
    return named


def phrases(answer: str) -> set[str]:
    """The 4-grams of an answer, each once; words in lower case, without punctuation around them."""
    said = [word for each in words(answer) if (word := each.strip(_EDGES).casefold().replace("\u2019", "'"))]
    return {" ".join(said[start : start + WORDS]) for start in range(len(said) - WORDS + 1)}


def _count(answers: Iterable[str]) -> int:
    return sum(bool(answer.strip()) for answer in answers)


def _overlap(one: str, other: str) -> bool:
    """Whether they share two words in a row."""
    first, second = ([*pairwise(phrase.split())] for phrase in (one, other))
    return not set(first).isdisjoint(second)
