"""The embedded engine: a transformers model in this process, with continuous batching and caches kept over turns.

    engine = TransformersEngine("Qwen/Qwen2.5-3B-Instruct", Sampling(max_new_tokens=256), batch_size=32)

Beside batches over slots it knows transformers' own continuous batching (`paged`): paged attention, prefix sharing and
CUDA graphs, on a thread of its own, with one stream of random numbers for all replies.
"""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.continuous_batching import ContinuousBatchingManager
from transformers.generation.continuous_batching.requests import GenerationOutput

from cai_lightning.engines.base import NEUTRAL, Choice, Engine, Reply, Sampling, complete_sampling
from cai_lightning.engines.batching import ContinuousBatch, Written
from cai_lightning.engines.transcripts import Template, Transcripts, open_transcripts
from cai_lightning.models.adapters import is_whole_model, load_adapter, shared_targets
from cai_lightning.models.attention import install_grouped
from cai_lightning.models.hub import DType, dtype_on, load_model
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import Conversation

PAGES = 8
"""Pages of 256 tokens for each conversation, where there is no GPU to measure the memory of: it would take all."""

READ_TOGETHER = 1024
"""Tokens of a forward pass there."""


@dataclass(eq=False, repr=False)
class TransformersEngine(Engine):
    """Serves a model with transformers in this process.

    Args:
        model: Name on the Hugging Face Hub, a folder, or a `.gguf` file.
        sampling: How replies are drawn.
        batch_size: Conversations answered together; a larger one is faster and takes more memory. On a GPU as many
            as fit; halved when memory runs out. A conversation that does not fit alone fails, and the others go on.
            A batch of another size rounds otherwise. In float32 that changes a reply only where its draw falls among
            tokens of a probability of one in a million (4 of 100 long replies from a whole vocabulary, none seen with
            a `top_p`); in other types it does so now and then.
        dtype: Type of the weights; `auto` takes that of the files, but float32 on a CPU without bfloat16.
        template: `chat` words conversations with the tokenizer's chat template; `plain` joins the turns by blank
            lines, as the original experiment did.
        chat_template_kwargs: Arguments of the chat template, such as `{enable_thinking: false}`; fit takes them too.
        attn_implementation: Attention kernel.
        batching: `slots` keeps each conversation's cache from turn to turn, and draws each reply from random numbers
            of its own; `paged` is transformers' own continuous batching, made for CUDA: its replies depend on what
            else is in the batch, so that runs are not compared on common random numbers.
    """

    NOT_FINGERPRINTED = frozenset({"batch_size", "attn_implementation"})

    model: str
    sampling: Sampling = Sampling()
    batch_size: int = 16
    dtype: DType = "auto"
    template: Template = "chat"
    chat_template_kwargs: dict[str, Any] | None = None
    attn_implementation: Literal["sdpa", "eager"] = "sdpa"
    batching: Literal["slots", "paged"] = "slots"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"engine.batch_size: batch_size >= 1 expected, found {self.batch_size}")
        self.sampling = complete_sampling(self.sampling, self.model)
        if self.batching == "paged" and self.sampling.repetition_penalty != 1:
            raise ValueError(
                "engine.batching: `paged` knows no repetition_penalty, which is "
                f"{self.sampling.repetition_penalty}; take `slots`, or set engine.sampling.repetition_penalty to 1"
            )
        if self.batching == "paged":
            self.tells_probabilities = False
        self._batch: ContinuousBatch | PagedBatch | None = None
        self._transcripts: Transcripts | None = None

    @property
    def concurrency(self) -> int:
        return self.batch_size

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        transcripts = open_transcripts(self.model, self.template, self.chat_template_kwargs, adapter)
        dtype = dtype_on(device, self.dtype)
        tuned = adapter is not None and is_whole_model(adapter)
        policy = load_model(str(adapter) if tuned else self.model, dtype, attn_implementation=self.attn_implementation)
        if self.batching == "slots":
            install_grouped(policy)
        if adapter is not None and not tuned:
            policy = load_adapter(policy, adapter)
            is_exact = dtype == "float32" and not shared_targets(policy)
            policy = policy.merge_and_unload() if is_exact else policy
        policy = policy.to(device).eval()
        ends = _ends(policy, transcripts.tokenizer)
        self._transcripts = transcripts
        if self.batching == "paged":
            self._batch = PagedBatch(policy, self.batch_size, self.sampling, ends)
        else:
            self._batch = ContinuousBatch(policy, self.batch_size, self.sampling, ends, self._is_stopped)

    def attach(self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Serves a model that is there already, such as the one in training, by its own weights as they are.

        Args:
            policy: It, in eval mode whenever a reply is awaited; adapters in its layers are not merged.
            tokenizer: Its tokenizer.
        """
        ends = _ends(policy, tokenizer)
        self._transcripts = Transcripts(tokenizer, self.template)
        self._batch = ContinuousBatch(policy, self.batch_size, self.sampling, ends, self._is_stopped)

    def forget(self) -> None:
        """Drops all caches, for the weights that they were computed by have changed."""
        batch, _ = self._serving()
        if isinstance(batch, ContinuousBatch):
            batch.forget()

    def stop(self) -> None:
        if isinstance(self._batch, PagedBatch):
            self._batch.close()
        self._batch = self._transcripts = None
        gc.collect()
        torch.cuda.empty_cache()

    async def reply(self, conversation: Conversation, seed: str, logprobs: bool = False) -> Reply:
        batch, transcripts = self._serving()
        ids = transcripts.encode(conversation)
        most = min(self._room(ids), self.sampling.max_new_tokens)
        written, likely = await batch.write(ids, seed, most, logprobs)
        is_ended = written[-1] in batch.ends
        text, thought = transcripts.decode(conversation, ids, written[:-1] if is_ended else written, self.sampling.stop)
        is_whole = is_ended or self._holds_stop(written)
        return Reply(text, "stop" if is_whole else "length", len(written), len(ids), thought, ids, written, likely)

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> Choice:
        batch, transcripts = self._serving()
        if isinstance(batch, PagedBatch):
            raise UserError("engine.batching: `paged` tells no probabilities to choose by; take `slots`.")
        ids = transcripts.encode(conversation)
        rows = transcripts.options(ids, options)
        self._room([*ids, *max(rows, key=len)])
        return replace(await batch.choose(ids, rows), prompt_tokens=len(ids))

    def _room(self, ids: list[int]) -> int:
        """How many tokens may follow."""
        config = self._serving()[0].policy.config.get_text_config(decoder=True)
        context = int(config.max_position_embeddings)
        if len(ids) >= context:
            raise ReplyError(f"a conversation of {len(ids)} tokens leaves no room in a context of {context}")
        return context - len(ids)

    def _is_stopped(self, written: list[int]) -> bool:
        """Whether a reply ends in a stop string; a token holds at least one byte of it, or is left over from one."""
        longest = max((len(stop.encode()) for stop in self.sampling.stop), default=0)
        return longest > 0 and self._holds_stop(written[-2 * longest :])

    def _holds_stop(self, written: list[int]) -> bool:
        """Whether a stop string is in a reply; what is batched by transformers is written on behind it."""
        if not self.sampling.stop:
            return False
        text = self._serving()[1].tokenizer.decode(written, skip_special_tokens=True)
        return any(stop in text for stop in self.sampling.stop)

    def _serving(self) -> "tuple[ContinuousBatch | PagedBatch, Transcripts]":
        assert self._batch is not None, "start() comes before reply()"
        assert self._transcripts is not None
        return self._batch, self._transcripts


def _ends(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends a turn: those of the model's generation settings and the tokenizer's own."""
    configured = policy.generation_config.eos_token_id
    several = configured if isinstance(configured, list) else [configured]
    return {token for token in (*several, tokenizer.eos_token_id) if token is not None}


@dataclass(eq=False)
class PagedBatch:
    """Writes replies to many conversations at once, by transformers' own continuous batching.

    Args:
        policy: The model.
        requests: Conversations in the batch.
        sampling: How tokens are drawn, nothing of it null, and without a penalty for repetition, which transformers
            drops here. A reply is cut at its stop strings when it is finished, not before. Log-probabilities are those
            of what is drawn from, and so are told where that is the model's own distribution.
        ends: Tokens that end a reply.
    """

    policy: PreTrainedModel
    requests: int
    sampling: Sampling
    ends: set[int]

    def __post_init__(self) -> None:
        self.tells = all(getattr(self.sampling, name) == value for name, value in NEUTRAL.items())
        self._manager: ContinuousBatchingManager | None = None

    async def write(self, ids: list[int], seed: str, most: int, logprobs: bool = False) -> Written:
        """Continues a conversation of these tokens by `most` tokens at most; `seed` is of no use here."""
        manager = self._manager = self._manager or self._started()
        answer: asyncio.Future[GenerationOutput] = asyncio.get_running_loop().create_future()
        name = f"{id(answer)}"
        manager.register_result_handler(name, partial(_resolve, answer))
        if manager.add_request(ids, name, most, eos_token_id=sorted(self.ends)) is None:
            raise RuntimeError("transformers' continuous batching has stopped; its error stands above")
        output = await answer
        if output.error is not None:
            raise RuntimeError(f"transformers' continuous batching failed: {output.error}")
        return Written(list(output.generated_tokens), list(output.logprobs) if logprobs and self.tells else None)

    def close(self) -> None:
        """Ends the thread and frees its cache."""
        if self._manager is not None:
            self._manager.stop(block=True)
            self._manager.destroy()
            self._manager = None

    def _started(self) -> ContinuousBatchingManager:
        sampling, on_gpu = self.sampling, self.policy.device.type == "cuda"
        drawn: dict[str, Any] = {"do_sample": False}
        if sampling.temperature:
            drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p}
            drawn |= {"top_k": sampling.top_k, "min_p": sampling.min_p or None}
        limits = {} if on_gpu else {"num_blocks": self.requests * PAGES, "max_batch_tokens": READ_TOGETHER}
        manager = self.policy.init_continuous_batching(
            GenerationConfig(max_new_tokens=sampling.max_new_tokens, eos_token_id=sorted(self.ends), **drawn),
            ContinuousBatchingConfig(max_requests_per_batch=self.requests, return_logprobs=self.tells, **limits),
        )
        if on_gpu:
            manager.warmup()
        manager.start()
        return manager


def _resolve(answer: asyncio.Future[GenerationOutput], output: GenerationOutput) -> None:
    if not answer.done():
        answer.set_result(output)
