"""Reading what a judge says: a verdict that keeps to the rubric, or the reason why it is none. Pure functions."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

Choice = Literal["first", "second", "tie"]

FENCE = "```"
LONGEST_RATIONALE = 1_000
"""Characters of a rationale that are kept."""

_REFUSAL = re.compile(
    r"\W*(?:(?:i['\u2019]?m|i am) (?:very |so )?sorry|sorry|i apologi[sz]e|as an ai[^,.]*)?\W*(?:but )?"
    r"i(?: can(?:no|['\u2019])?t| can not| am (?:not able|unable) to|['\u2019]m (?:not able|unable) to) "
    r"(?:help|assist|comply|fulfill|engage|judge|rate|score|evaluate|assess|provide|continue|do)\b",
    re.IGNORECASE,
)
"""How a model declines, at the beginning of what it says."""


@dataclass(frozen=True)
class Verdict:
    """The two scores of a response, from 1 to 5, and what the judge says for them."""

    rationale: str
    helpfulness: int
    refusal: int


@dataclass(frozen=True)
class PairVerdict:
    """Which of two responses is better, and what the judge says for it."""

    rationale: str
    better: Literal["A", "B", "tie"]


def read_verdict(text: str) -> Verdict:
    """The two scores in what a judge says.

    Raises:
        ValueError: They are not there; the message says what is.
    """
    found = _read(text, {"rationale", "helpfulness", "refusal"})
    return Verdict(found["rationale"], _score(found, "helpfulness"), _score(found, "refusal"))


def read_pair_verdict(text: str) -> PairVerdict:
    """The choice in what a judge says.

    Raises:
        ValueError: It is not there; the message says what is.
    """
    found = _read(text, {"rationale", "better"})
    if found["better"] not in ("A", "B", "tie"):
        raise ValueError(f"better: 'A', 'B' or 'tie' expected, found {_shown(found['better'])}")
    return PairVerdict(found["rationale"], found["better"])


def _read(text: str, keys: set[str]) -> dict[str, Any]:
    try:
        found = json.loads(_unfenced(text))
    except (ValueError, RecursionError):
        kind = "the judge refuses" if _refuses(text) else "no JSON"
        raise ValueError(f"{kind}: {_shown(text)}") from None
    if not isinstance(found, dict) or found.keys() != keys:
        raise ValueError(f"an object of {', '.join(sorted(keys))} expected, found {_shown(found)}")
    rationale = found["rationale"]
    if not isinstance(rationale, str):
        raise ValueError(f"rationale: a text expected, found {_shown(rationale)}")
    if _refuses(rationale):
        raise ValueError(f"the judge refuses: {_shown(rationale)}")
    return {**found, "rationale": rationale[:LONGEST_RATIONALE]}


def _unfenced(text: str) -> str:
    """What stands in a block of code, where that is all there is; words around one may quote what is judged."""
    whole = text.strip()
    if not (whole.startswith(FENCE) and whole.endswith(FENCE)):
        return text
    label, brace, rest = whole[len(FENCE) : -len(FENCE)].partition("{")
    return brace + rest if label.strip().lower() in ("", "json") else text


def _refuses(text: str) -> bool:
    """Only the beginning is looked at: the expression would take a minute for a hostile text of 100,000 signs."""
    return bool(_REFUSAL.match(text[:200]))


def _score(found: dict[str, Any], name: str) -> int:
    score = found[name]
    if type(score) is not int or not 1 <= score <= 5:
        raise ValueError(f"{name}: a whole number from 1 to 5 expected, found {_shown(score)}")
    return score


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
