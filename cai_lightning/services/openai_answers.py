"""A server that speaks OpenAI's chat protocol and answers by a JSON schema: OpenAI, vLLM, llama.cpp, OpenRouter."""

from cai_lightning.errors import UserError
from cai_lightning.services.addresses import model_revision
from cai_lightning.services.answers import Answer, AnswerServer, Drawing, Question
from cai_lightning.services.endpoint import Endpoint
from cai_lightning.services.retries import TransientError


class OpenAIServer(AnswerServer):
    """Asks a model of an OpenAI-compatible server.

    Args:
        model: Its name, as the server knows it.
        url: The server's address, such as `http://127.0.0.1:8000/v1`.
        key: The key; empty where none is needed.
        timeout: Seconds within which a question has to be answered.
    """

    def __init__(self, model: str, url: str, key: str, timeout: float) -> None:
        self.model = model
        self._endpoint = Endpoint(url, key, timeout)

    def check(self, context: int) -> None:
        self.revision()

    def revision(self) -> str:
        """The model's name and the address, for this protocol has no digests. A list of models shall hold this one."""
        try:
            models = self._endpoint.models()
        except TransientError as error:
            raise UserError(f"no server is there ({error}). Start it, or mend judge.base_url.") from None
        if models and self.model not in models:
            known = ", ".join(models[:8]) + (", ..." if len(models) > 8 else "")
            raise UserError(f"{self._endpoint.url}: no model {self.model!r} there, but {known}. Name one of these.")
        return model_revision(self.model, None, self._endpoint.url)

    async def answer(self, question: Question, drawing: Drawing) -> Answer:
        completion = await self._endpoint.complete(
            {
                "model": self.model,
                "messages": question.messages,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "verdict", "strict": True, "schema": question.schema},
                },
                "temperature": drawing.temperature,
                "seed": drawing.seed,
                "max_tokens": drawing.max_tokens,
            }
        )
        reason, refusal = completion.finish_reason, completion.refusal
        if reason not in ("stop", "length"):
            refusal = refusal or f"finish reason {reason}"
        return Answer(completion.text or "", reason != "length", completion.prompt_tokens or None, refusal)
