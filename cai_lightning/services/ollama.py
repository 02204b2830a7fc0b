"""A server that speaks Ollama's own protocol, which tells more than OpenAI's: what a model is, and what was read.

answer = await OllamaServer("llama3.1", "http://127.0.0.1:11434", timeout=600).answer(question, drawing)
"""

from typing import Any

import httpx

from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.text import parse_json
from cai_lightning.services.answers import Answer, AnswerServer, Drawing, Question
from cai_lightning.services.http import TransientError, is_local, retry_after
from cai_lightning.services.openai import CHECK_SECONDS, CONNECT_SECONDS, EXCERPT, REFUSING, TRANSIENT


class OllamaServer(AnswerServer):
    """Asks a model in Ollama.

    Args:
        model: Its name; without a tag, that is `latest`.
        url: The server's address.
        timeout: Seconds within which a question has to be answered.
    """

    def __init__(self, model: str, url: str, timeout: float) -> None:
        self.model = model
        self.url = url.rstrip("/")
        self._connection: dict[str, Any] = {
            "timeout": httpx.Timeout(timeout, connect=CONNECT_SECONDS),
            "verify": httpx.create_ssl_context() if url.startswith("https") else False,
            "trust_env": not is_local(url),  # no proxy stands between a machine and itself
        }

    def check(self, context: int) -> None:
        self.revision()
        shown = self._look("POST", "/api/show", {"model": self.model})
        info = shown.get("model_info")
        lengths = [v for k, v in info.items() if k.endswith(".context_length")] if isinstance(info, dict) else []
        if lengths and isinstance(lengths[0], int) and lengths[0] < context:
            raise UserError(
                f"{self.url}: {self.model!r} has a context of {lengths[0]} tokens, less than num_ctx = {context}."
            )

    def revision(self) -> str:
        listed = self._look("GET", "/api/tags").get("models")
        models = [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
        digests = {str(model.get("name")): model.get("digest") for model in models}
        digest = digests.get(self.model) or digests.get(f"{self.model}:latest")
        if not digest:
            known = ", ".join(sorted(digests)) or "none at all"
            raise UserError(
                f"{self.url}: no model {self.model!r} there, but {known}. Get it (ollama pull {self.model}), or name "
                "another."
            )
        return f"{self.model}@{digest}"

    async def answer(self, question: Question, drawing: Drawing) -> Answer:
        request = {
            "model": self.model,
            "messages": question.messages,
            "stream": False,
            "format": question.schema,
            # Instead of dropping what does not fit, an Ollama of 2025 or later then answers with an error.
            "truncate": False,
            "shift": False,
            "options": {
                "temperature": drawing.temperature,
                "seed": drawing.seed,
                "num_ctx": drawing.context,
                "num_predict": drawing.max_tokens,
            },
        }
        try:
            async with httpx.AsyncClient(**self._connection) as client:
                response = await client.post(f"{self.url}/api/chat", json=request)
        except httpx.RequestError as error:
            raise self._transient(_cause(error)) from None
        if response.status_code != httpx.codes.OK:
            raise self._failure(response)
        try:
            return _read_answer(response.content)
        except ValueError as error:
            raise self._transient(str(error)) from None

    def _look(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the server says about its models."""
        try:
            with httpx.Client(**self._connection) as client:
                response = client.request(method, self.url + path, json=body, timeout=CHECK_SECONDS)
        except httpx.RequestError as error:
            raise UserError(
                f"no Ollama is there ({self._excerpt(_cause(error))}). Start it (ollama serve), or mend judge.base_url."
            ) from None
        try:
            found = parse_json(response.content)
        except ValueError:
            found = None
        if response.status_code != httpx.codes.OK or not isinstance(found, dict):
            said = self._excerpt(f"status {response.status_code} to {path}: {response.text}")
            raise UserError(f"{said} (Is this an Ollama? For other servers set protocol to openai.)")
        return found

    def _failure(self, response: httpx.Response) -> Exception:
        """Whether a status may pass, tells of this question alone, or of all."""
        status, after = response.status_code, response.headers.get("Retry-After")
        said = self._excerpt(f"status {status}{f', Retry-After {after}' if after else ''}: {response.text}")
        if status in REFUSING:
            return UserError(f"{said} (So it would answer every question; is {self.model!r} a model of this server?)")
        if status in TRANSIENT or status >= 500:
            return TransientError(said, retry_after(after))
        return ReplyError(said)

    def _transient(self, reason: str) -> TransientError:
        return TransientError(self._excerpt(reason))

    def _excerpt(self, text: str) -> str:
        return f"{self.url}: {' '.join(text.split())[:EXCERPT]}"


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


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
