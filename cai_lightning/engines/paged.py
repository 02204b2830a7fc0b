"""Transformers' own continuous batching: paged attention, prefix sharing and CUDA graphs, on a thread of its own.

    batch = PagedBatch(policy, requests=256, sampling=Sampling(), ends={2})
    tokens = await batch.write(ids, seed="42", most=256)

It draws all tokens from one stream of random numbers: a reply depends on what else is in the batch.
"""

import asyncio
from functools import partial

from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel
from transformers.generation.continuous_batching import ContinuousBatchingManager
from transformers.generation.continuous_batching.requests import GenerationOutput

from cai_lightning.engines.base import Sampling

PAGES = 8
"""Pages of 256 tokens for each conversation, where there is no GPU to measure the memory of: it would take all."""

READ_TOGETHER = 1024
"""Tokens of a forward pass there."""


class PagedBatch:
    """Writes replies to many conversations at once.

    Args:
        policy: The model.
        requests: Conversations in the batch.
        sampling: How tokens are drawn, nothing of it null, and without a penalty for repetition, which transformers
            drops here. A reply is cut at its stop strings when it is finished, not before.
        ends: Tokens that end a reply.
    """

    def __init__(self, policy: PreTrainedModel, requests: int, sampling: Sampling, ends: set[int]) -> None:
        self.policy = policy
        self.requests = requests
        self.sampling = sampling
        self.ends = ends
        self._manager: ContinuousBatchingManager | None = None

    async def write(self, ids: list[int], seed: str, most: int) -> list[int]:
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
        return list(output.generated_tokens)

    def close(self) -> None:
        """Ends the thread and frees its cache."""
        if self._manager is not None:
            self._manager.stop(block=True)
            self._manager.destroy()
            self._manager = None

    def _started(self) -> ContinuousBatchingManager:
        sampling = self.sampling
        kept = {"top_p": sampling.top_p, "top_k": sampling.top_k, "min_p": sampling.min_p or None}
        drawn = {"do_sample": True, "temperature": sampling.temperature, **kept}
        on_gpu = self.policy.device.type == "cuda"
        manager = self.policy.init_continuous_batching(
            GenerationConfig(
                max_new_tokens=sampling.max_new_tokens,
                eos_token_id=sorted(self.ends),
                **(drawn if sampling.temperature else {"do_sample": False}),
            ),
            ContinuousBatchingConfig(
                max_requests_per_batch=self.requests,
                **({} if on_gpu else {"num_blocks": self.requests * PAGES, "max_batch_tokens": READ_TOGETHER}),
            ),
        )
        if on_gpu:
            manager.warmup()
        manager.start()
        return manager


def _resolve(answer: asyncio.Future[GenerationOutput], output: GenerationOutput) -> None:
    if not answer.done():
        answer.set_result(output)
