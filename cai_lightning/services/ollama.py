"""A judge's server that speaks Ollama's own protocol, which tells more than OpenAI's: what a model is, what was read.

answer = await OllamaServer("llama3.1", servers).answer(request, sampling)
"""

from typing import Any

from cai_lightning.run.errors import UserError
from cai_lightning.run.text import parse_json
from cai_lightning.services.answers import Answer, AnswerServer, JudgeRequest, JudgeSampling
from cai_lightning.services.http import Servers


class OllamaServer(AnswerServer):
    """Asks a model in Ollama.

    Args:
        model: Its name; without a tag, that is `latest`.
        servers: The server.
    """

    def __init__(self, model: str, servers: Servers) -> None:
        self.model = model
        self._servers = servers

    def check(self, context: int) -> None:
        self.revision()
        shown = self._look("POST", "/api/show", {"model": self.model})
        info = shown.get("model_info")
        lengths = [v for k, v in info.items() if k.endswith(".context_length")] if isinstance(info, dict) else []
        if lengths and isinstance(lengths[0], int) and lengths[0] < context:
            raise UserError(
                f"{self._servers.url}: {self.model!r} has a context of {lengths[0]} tokens, less than num_ctx = "
                f"{context}."
            )

    def revision(self) -> str:
        listed = self._look("GET", "/api/tags").get("models")
        models = [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
        digests = {str(model.get("name")): model.get("digest") for model in models}
        digest = digests.get(self.model) or digests.get(f"{self.model}:latest")
        if not digest:
            known = ", ".join(sorted(digests)) or "none at all"
            raise UserError(
                f"{self._servers.url}: no model {self.model!r} there, but {known}. Get it (ollama pull {self.model}), "
                "or name another."
            )
        return f"{self.model}@{digest}"

    async def answer(self, request: JudgeRequest, sampling: JudgeSampling) -> Answer:
        asked = {
            "model": self.model,
            "messages": request.messages,
            "stream": False,
            "format": request.schema,
            # Instead of dropping what does not fit, an Ollama of 2025 or later then answers with an error.
            "truncate": False,
            "shift": False,
            "options": {
                "temperature": sampling.temperature,
                "seed": sampling.seed,
                "num_ctx": sampling.context,
                "num_predict": sampling.max_tokens,
            },
        }
        return await self._servers.ask("/api/chat", asked, _read_answer)

    def _look(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the server says about its models."""
        response = self._servers.look(method, path, body)
        try:
            found = parse_json(response.content)
        except ValueError:
            found = None
        if not response.is_success or not isinstance(found, dict):
            said = self._servers.excerpt(f"status {response.status_code} to {path}: {response.text}")
            raise UserError(f"{said} (Is this an Ollama? For other servers set protocol to openai.)")
        return found


def _read_answer(body: bytes) -> Answer:
    """The answer in the body of a response.

    Raises:
        ValueError: It is none: cut short, or an error after success was promised.
    """
    try:
        found = parse_json(body)
        text, reason, read = found["message"]["content"], found.get("done_reason"), found.get("prompt_eval_count")
        if not isinstance(text, str) or not isinstance(read, int | None) or found.get("done") is not True:
            raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"no chat answer, but: {body.decode(errors='replace')}") from None
    return Answer(text, reason == "stop", read)
