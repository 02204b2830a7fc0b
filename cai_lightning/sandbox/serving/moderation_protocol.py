"""OpenAI's moderation protocol (`POST /v1/moderations`) with the sandbox's moderation model behind it."""

import uuid
from collections.abc import Mapping
from typing import Any

from cai_lightning.sandbox.serving.classifier import Classifier
from cai_lightning.sandbox.serving.server import Content, Protocol, ProtocolError, Route

MODEL = "sandbox-moderation"
MOST_INPUTS = 1000
THRESHOLD = 0.5

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)

CATEGORY_OF = {
    "theft": "illicit",
    "fraud": "illicit",
    "vandalism": "illicit",
    "hacking": "illicit",
    "privacy": "illicit",
    "drugs": "illicit",
    "weapons": "illicit/violent",
    "violence": "violence",
    "harassment": "harassment",
    "hate": "hate",
}
"""The category of each kind of harm of the miniature world. What this world does not know has the score 0."""


class ModerationProtocol(Protocol):
    """Scores texts by category; the score of a category is that of its likeliest kind of harm."""

    prefix = "/v1/"

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._version = f"{MODEL}-{classifier.digest[:8]}"

    @property
    def routes(self) -> Mapping[tuple[str, str], Route]:
        return {("POST", "/v1/moderations"): self.moderate, ("GET", "/v1/models"): self.models}

    def refusal(self, refusal: ProtocolError) -> Content:
        kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
        return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}}

    def models(self, content: Content) -> Content:
        created = int(self._classifier.modified)
        return {
            "object": "list",
            "data": [{"id": MODEL, "object": "model", "created": created, "owned_by": "cai_lightning"}],
        }

    def moderate(self, content: Content) -> Content:
        model = content.get("model", MODEL)
        if model not in (MODEL, self._version):
            raise ProtocolError(404, f"there is no model {model!r} here; there is {MODEL!r}", "model_not_found")
        found = self._classifier(_texts(content.get("input")))
        return {
            "id": f"modr-{uuid.uuid4().hex}",
            "model": self._version,
            "digest": self._classifier.digest,  # OpenAI tells none; scores outlive a move to another port by it
            "results": [_result(kinds) for kinds in found],
        }


def _texts(given: Any) -> list[str]:
    """The texts that `input` holds: one, or a list of them."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ProtocolError(400, "'input' has to be a text, or a list of texts that is not empty")
    if len(texts) > MOST_INPUTS:
        raise ProtocolError(400, f"'input' holds {len(texts)} texts; {MOST_INPUTS} are the most")
    return texts


def _result(kinds: dict[str, float]) -> Content:
    scores = dict.fromkeys(CATEGORIES, 0.0)
    for kind, probability in kinds.items():
        category = CATEGORY_OF[kind]
        scores[category] = max(scores[category], probability)
    categories = {category: score >= THRESHOLD for category, score in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {category: ["text"] for category in CATEGORIES},
    }
