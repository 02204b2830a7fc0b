"""The embedded engine: a transformers model over batches of similar length, made of whatever is waiting.

engine = TransformersEngine("Qwen/Qwen2.5-3B-Instruct", Sampling(max_new_tokens=256), batch_size=32)
"""

import asyncio
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation import StopStringCriteria

from cai_lightning import chat
from cai_lightning.engines.base import Engine, Reply, Sampling
from cai_lightning.engines.choosing import option_probabilities
from cai_lightning.engines.decoding import decode
from cai_lightning.engines.loading import DType, load_adapter, load_model, load_tokenizer
from cai_lightning.engines.sampling import processors
from cai_lightning.records import Conversation


@dataclass(frozen=True, eq=False)
class _Request:
    ids: list[int]
    seed: str
    answer: "asyncio.Future[Reply]"


class TransformersEngine(Engine):
    """Serves a model with transformers in this process.

    Args:
        model: Name on the Hugging Face Hub, or a folder.
        sampling: How replies are drawn.
        batch_size: Conversations answered together; a larger one is faster and takes more memory.
        dtype: Type of the weights; `auto` takes that of the files.
        template: `chat` words conversations with the tokenizer's chat template; `plain` joins the turns by blank
            lines, as the original experiment did.
        attn_implementation: Attention kernel, such as `sdpa` or `flash_attention_2`; null lets transformers choose.
    """

    INCIDENTAL = frozenset({"batch_size", "attn_implementation"})

    def __init__(
        self,
        model: str,
        sampling: Sampling = Sampling(),
        batch_size: int = 16,
        dtype: DType = "auto",
        template: Literal["chat", "plain"] = "chat",
        attn_implementation: str | None = None,
    ) -> None:
        self.model = model
        self.sampling = sampling
        self.batch_size = batch_size
        self.dtype: DType = dtype
        self.template = template
        self.attn_implementation = attn_implementation
        self._waiting: list[_Request] = []
        self._policy: PreTrainedModel | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def concurrency(self) -> int:
        return 2 * self.batch_size

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        self._tokenizer = load_tokenizer(self.model)
        self._waiting = []
        policy = load_model(self.model, self.dtype, attn_implementation=self.attn_implementation)
        if adapter is not None:
            policy = load_adapter(policy, adapter)
            policy = policy.merge_and_unload() if self.dtype == "float32" else policy
        self._policy = policy.to(device).eval()

    def stop(self) -> None:
        self._policy = self._tokenizer = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    async def reply(self, conversation: Conversation, seed: str) -> Reply:
        loop = asyncio.get_running_loop()
        request = _Request(self._encode(conversation), seed, loop.create_future())
        self._waiting.append(request)
        if len(self._waiting) == 1:
            loop.call_soon(self._serve)
        return await request.answer

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> list[float]:
        policy, tokenizer = self._loaded()
        talk = self._encode(conversation)
        rows = [list(tokenizer(option, add_special_tokens=False)["input_ids"]) for option in options]
        return option_probabilities(policy, talk, rows)

    def _serve(self) -> None:
        """Answers one batch. The chains it wakes run before the next batch, so their requests can join it."""
        batch = self._take()
        try:
            replies = self._generate(batch)
        except Exception as error:  # not swallowed: those who wait for it raise it
            waiting, self._waiting = self._waiting, []
            for request in (*batch, *waiting):
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        for request, reply in zip(batch, replies, strict=True):
            if not request.answer.done():
                request.answer.set_result(reply)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._serve)

    def _take(self) -> list[_Request]:
        """The batch of neighbours in length around the request that has waited longest."""
        oldest = self._waiting[0]
        by_length = sorted(self._waiting, key=lambda request: len(request.ids))
        start = min(by_length.index(oldest), max(0, len(by_length) - self.batch_size))
        batch = by_length[start : start + self.batch_size]
        taken = set(batch)
        self._waiting = [request for request in self._waiting if request not in taken]
        return batch

    def _generate(self, batch: list[_Request]) -> list[Reply]:
        policy, tokenizer = self._loaded()
        ids, mask = _pad_left([request.ids for request in batch], tokenizer.pad_token_id, policy.device)
        ends = _ends(policy, tokenizer)
        draws = processors(self.sampling, [request.seed for request in batch])
        rows = decode(policy, ids, mask, draws, self.sampling.max_new_tokens, self._finished(ends))
        return [self._reply(row, ends, len(request.ids)) for row, request in zip(rows, batch, strict=True)]

    def _finished(self, ends: list[int]) -> Callable[[Tensor], Tensor]:
        """Whether a row ends with its last token: an end of turn, or the end of a stop string."""
        policy, tokenizer = self._loaded()
        end = torch.tensor(ends, device=policy.device)
        stop = StopStringCriteria(tokenizer, self.sampling.stop) if self.sampling.stop else None
        return lambda ids: torch.isin(ids[:, -1], end) | (stop(ids, None) if stop else False)

    def _reply(self, ids: list[int], ends: list[int], prompt_tokens: int) -> Reply:
        """One row's reply, cut at its end of turn or its first stop string."""
        tokenizer = self._loaded()[1]
        end = next((n for n, token in enumerate(ids) if token in ends), None)
        text = tokenizer.decode(ids[:end], skip_special_tokens=True)
        places = [text.index(stop) for stop in self.sampling.stop if stop in text]
        finished = end is not None or bool(places)
        return Reply(
            (text[: min(places)] if places else text).strip(),
            "stop" if finished else "length",
            len(ids),
            prompt_tokens,
        )

    def _encode(self, conversation: Conversation) -> list[int]:
        tokenizer = self._loaded()[1]
        if self.template == "plain":
            return list(tokenizer(chat.plain(conversation))["input_ids"])
        return list(
            tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=True)["input_ids"]
        )

    def _loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        assert self._policy is not None, "start() comes before reply()"
        assert self._tokenizer is not None
        return self._policy, self._tokenizer


def _ends(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every token that ends a turn: those of the model's generation settings and the tokenizer's own."""
    configured = policy.generation_config.eos_token_id
    several = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in (*several, tokenizer.eos_token_id) if token is not None})


def _pad_left(rows: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask
