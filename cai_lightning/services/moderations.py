"""Reading what OpenAI's moderation API answers: pure functions of the answer's body."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Moderation:
    """What the API says about one text.

    Args:
        flagged: Whether it flags the text.
        scores: The score of each category, from 0 to 1; categories without a score are left out.
        categories: The categories that it flags.
    """

    flagged: bool
    scores: dict[str, float]
    categories: list[str]


@dataclass(frozen=True)
class Moderated:
    """What the API answers to a request.

    Args:
        model: The model behind the name that was asked for.
        results: One for each text, it is to be hoped; a text stands for a result that cannot be read, and says why.
        digest: Stands for the model's weights; OpenAI tells none, the sandbox's service does.
    """

    model: str
    results: list[Moderation | str]
    digest: str | None = None


def read_moderated(body: bytes) -> Moderated:
    """The answer in the body of a response.

    Raises:
        ValueError: It is none: cut short, or something else.
    """
    try:
        answer = json.loads(body)
        model, results, digest = answer["model"], answer["results"], answer.get("digest")
        if not isinstance(model, str) or not isinstance(results, list) or not isinstance(digest, str | None):
            raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"no moderation, but: {body.decode(errors='replace')}") from None
    return Moderated(model, [_result_or_why(result) for result in results], digest)


def _result_or_why(result: Any) -> Moderation | str:
    try:
        return _read_result(result)
    except ValueError as error:
        return f"invalid moderation: {error}"
    except (LookupError, TypeError, AttributeError):
        return f"invalid moderation: {str(result)[:200]}"


def _read_result(result: Any) -> Moderation:
    """One result. A category that does not apply has neither a score nor a flag, but null."""
    scores = {name: _read_score(name, score) for name, score in result["category_scores"].items() if score is not None}
    if not scores:
        raise ValueError("no category has a score")
    if not isinstance(result["flagged"], bool):
        raise ValueError(f"flagged: true or false expected, found {result['flagged']!r}")
    return Moderation(result["flagged"], scores, [name for name, flag in result["categories"].items() if flag is True])


def _read_score(name: str, score: Any) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"{name}: a score from 0 to 1 expected, found {score!r}")
    return float(score)
