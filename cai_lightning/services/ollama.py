"""Ollama: a judge asked in its own protocol, and how it is seen that a server has cut what it was sent.

answer = await OllamaServer(servers, "llama3.1", 512, 8192).answer(messages, schema, temperature=0.0, seed=1)

Some servers cut a conversation that is too long, and say nothing. Ollama does. It then keeps half of the context and
counts what it has kept, so that its count alone looks well (ollama/ollama issues 17427 and 3427). A count that is below
the number of words is a certain sign. Where the context is known there are others; no single one of these is certain.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation
from cai_lightning.run.text import parse_json, split_thoughts
from cai_lightning.services.http import NOT_READ, Servers
from cai_lightning.services.openai import Completion

T = TypeVar("T")


@dataclass(frozen=True)
class OllamaServer:
    """Asks a judge's model in Ollama.

    Args:
        servers: The server.
        model: Its name; without a tag, that is `latest`.
        max_tokens: An answer is cut after so many tokens.
        context: Tokens of request and answer together that the server shall have room for.
    """

    servers: Servers
    model: str
    max_tokens: int
    context: int

    def revision(self) -> str:
        """The model and its digest.

        Raises:
            UserError: There is no server, or it does not have the model with the context.
        """
        url, digests = self.servers.url, self._look("GET", "/api/tags", _digests)
        digest = digests.get(self.model) or digests.get(f"{self.model}:latest")
        if not digest:
            known = ", ".join(sorted(digests)) or "none at all"
            raise UserError(
                f"{url}: no model {self.model!r} there, but {known}. Get it (ollama pull {self.model}), or name "
                "another."
            )
        length = self._look("POST", "/api/show", _context_length, {"model": self.model})
        if length is not None and length < self.context:
            raise UserError(
                f"{url}: {self.model!r} has a context of {length} tokens, less than num_ctx = {self.context}."
            )
        return f"{self.model}@{digest}"

    async def answer(self, messages: Conversation, schema: dict[str, Any], temperature: float, seed: int) -> Completion:
        """An answer that shall keep to a JSON schema; raises as `Servers.ask` does."""
        room = {"num_ctx": self.context, "num_predict": self.max_tokens}
        asked = {
            "model": self.model,
            "messages": messages,
            "stream": False,
            "format": schema,
            # Instead of dropping what does not fit, an Ollama of 2025 or later then answers with an error.
            "truncate": False,
            "shift": False,
            "options": {"temperature": temperature, "seed": seed, **room},
        }
        return await self.servers.ask("/api/chat", asked, read_chat)

    def _look(self, method: str, path: str, read: Callable[[Any], T], body: dict[str, Any] | None = None) -> T:
        """What the server says about its models."""
        response = self.servers.look(method, path, body)
        if response.is_success:
            with suppress(*NOT_READ):
                return read(parse_json(response.content))
        said = self.servers.excerpt(f"status {response.status_code} to {path}: {response.text}")
        raise UserError(f"{said} (Is this an Ollama? For other servers set protocol to openai.)")


def _digests(told: Any) -> dict[str, str | None]:
    return {str(model["name"]): model.get("digest") for model in told["models"]}


def _context_length(told: Any) -> int | None:
    known = told.get("model_info") or {}
    return next((n for name, n in known.items() if name.endswith(".context_length") and isinstance(n, int)), None)


def read_chat(answer: Any) -> Completion:
    """Ollama's answer, or one of `NOT_READ`, as for an error after success was promised. A model stops by itself, or
    for want of room."""
    text, reason, read = answer["message"]["content"], answer.get("done_reason"), answer.get("prompt_eval_count")
    if not isinstance(text, str) or not isinstance(read, int | None) or answer.get("done") is not True:
        raise TypeError
    return Completion(text, "stop" if reason == "stop" else "length", read)


MOST_BYTES_PER_TOKEN = 8
"""English has 4 to 5 bytes a token, other languages fewer; a text of more than 8 has been cut, or cannot fit."""

TEMPLATE_TOKENS = 256
"""What a chat template puts around the messages, at most."""

HALF = 8
"""How far from half of the context a count may be that still looks like it."""

SMALLEST_CONTEXT = 256
"""No server has room for so few tokens; what does not need as many was not cut."""


def fewest_tokens(conversation: Conversation) -> int:
    """Fewer tokens than this no tokenizer makes of a conversation, whatever its language: one for each of its words.

    No token holds letters or digits on both sides of a blank. Rules and blanks, of which a token may hold a hundred,
    are no words, nor are thoughts, which chat templates leave out. English has 1.3 tokens a word, so that it is seen
    where more than a quarter was not read. Of scripts without blanks nothing can be said for sure.
    """
    words = (word for turn in conversation for word in split_thoughts(turn["content"]).words.split())
    return sum(any(map(str.isalnum, word)) for word in words)


def why_unread(conversation: Conversation, read: int | None) -> str | None:
    """Why a server of unknown context has not read a whole conversation; None where it has, or nothing is known.

    Args:
        conversation: What it was sent.
        read: Tokens of it that the server says it has read; null where it does not say.
    """
    fewest = fewest_tokens(conversation)
    if not read or fewest <= max(read, SMALLEST_CONTEXT):
        return None
    return (
        f"the server has read {read} tokens of a conversation of at least {fewest}: it was cut. Give the model a "
        "larger context (Ollama: OLLAMA_CONTEXT_LENGTH, or num_ctx in its Modelfile; its version 0.30.0 counts too few)"
    )


def why_too_long(size: int, max_tokens: int, context: int) -> str | None:
    """Why a request clearly cannot fit; None where it may.

    Args:
        size: Bytes of the messages.
        max_tokens: Tokens that the answer needs.
        context: Tokens of request and answer together.
    """
    if size / MOST_BYTES_PER_TOKEN + max_tokens <= context:
        return None
    return f"{size} bytes of request and {max_tokens} tokens of answer do not fit into {context} tokens; raise num_ctx"


def why_cut(size: int, fewest: int, read: int | None, max_tokens: int, context: int) -> str | None:
    """Why a server has not read the whole request, or may not have; None where it has.

    Args:
        size: Bytes of the messages.
        fewest: The fewest tokens that these are, see `fewest_tokens`.
        read: Tokens of the question that the server says it has read; None where it does not say.
        max_tokens: Tokens that the answer may have.
        context: Tokens of request and answer together.
    """
    if size + TEMPLATE_TOKENS + max_tokens <= context:
        return None
    if read is None:
        return "the server does not say how much of this long request it has read"
    is_short = read < fewest or size > MOST_BYTES_PER_TOKEN * read
    if read >= context or abs(read - context // 2) <= HALF or is_short:
        return f"the server has read {read} tokens of a request of {size} bytes: it was cut; raise num_ctx"
    return None
