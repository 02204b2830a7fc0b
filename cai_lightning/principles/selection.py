"""Selection of the principle for each round of critique and revision; a new strategy is one subclass.

    selector = RandomSelector()
    selector.prepare(constitution.principles, prompts, seed=42)
    selector.select(prompts[0], round_index=0).principle

A strategy is named at `predict.model.init_args.selector`.
"""

import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cai_lightning.models.hub import MINILM, embed, open_encoder, truncated
from cai_lightning.principles import wording
from cai_lightning.principles.constitution import Principle
from cai_lightning.run.records import Prompt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The principle chosen for one round, and its cosine similarity to the prompt where the strategy has one."""

    principle: Principle
    similarity: float | None = None


class PrincipleSelector(ABC):
    """Chooses the principle of each critique. A choice depends on the seed, the prompt and the round alone: neither on
    the order of the rows, nor on the process, nor on a run having been resumed."""

    NOT_FINGERPRINTED: frozenset[str] = frozenset()
    """Settings that cannot change a choice, such as a batch size."""

    @abstractmethod
    def prepare(self, principles: Sequence[Principle], prompts: Sequence[Prompt], seed: int) -> None:
        """Called once before the first `select`, with every prompt that this process will ask about."""

    @abstractmethod
    def select(self, prompt: Prompt, round_index: int) -> Selection:
        """The principle of round `round_index` (from 0) for this prompt."""


class RandomSelector(PrincipleSelector):
    """Draws each round's principle from the whole constitution, independently of the others, as the paper does
    (Bai et al. 2022, section 3.1)."""

    def prepare(self, principles: Sequence[Principle], prompts: Sequence[Prompt], seed: int) -> None:
        self._principles = tuple(principles)
        self._seed = seed

    def select(self, prompt: Prompt, round_index: int) -> Selection:
        return Selection(random.Random(f"{self._seed}:{prompt.id}:{round_index}").choice(self._principles))


class ContextualSelector(PrincipleSelector):
    """Takes in round t the t-th most similar principle that this prompt has not met yet.

    The similarity is the cosine of the critique request and what the human has said: of a transcript all human turns,
    for the last one may be no more than "Tell me more". After as many rounds as there are principles all of them are
    open again.

    Args:
        encoder: Folder or Hugging Face name of the sentence encoder.
        k: Draws among the k most similar open principles; 1 takes the most similar one.
        batch_size: Texts encoded at once.
    """

    NOT_FINGERPRINTED = frozenset({"batch_size"})

    def __init__(self, encoder: str = MINILM, k: int = 1, batch_size: int = 64) -> None:
        if k < 1 or batch_size < 1:
            raise ValueError(f"ContextualSelector: k, batch_size >= 1 expected, found {k}, {batch_size}")
        self.encoder = encoder
        self.k = k
        self.batch_size = batch_size

    def prepare(self, principles: Sequence[Principle], prompts: Sequence[Prompt], seed: int) -> None:
        self._principles = tuple(principles)
        self._seed = seed
        requests = [principle.critique_request for principle in principles]
        similarity = self._cosine([_said(prompt) for prompt in prompts], requests) if prompts else ()
        self._similarity = {prompt.id: row for prompt, row in zip(prompts, similarity, strict=True)}

    def select(self, prompt: Prompt, round_index: int) -> Selection:
        similarity = self._similarity[prompt.id]
        open_ones = list(np.argsort(-similarity, kind="stable"))
        for earlier in range(round_index - round_index % len(open_ones), round_index):
            open_ones.pop(self._draw(prompt, earlier, len(open_ones)))
        chosen = open_ones[self._draw(prompt, round_index, len(open_ones))]
        return Selection(self._principles[chosen], float(similarity[chosen]))

    def _draw(self, prompt: Prompt, round_index: int, count: int) -> int:
        return random.Random(f"{self._seed}:{prompt.id}:{round_index}").randrange(min(self.k, count))

    def _cosine(self, prompts: Sequence[str], requests: Sequence[str]) -> NDArray[np.float32]:
        """The cosine of every prompt (rows) and every critique request (columns); nothing else is kept."""
        encoder = open_encoder(self.encoder)
        cut = sum(truncated(encoder, prompts))
        if cut:
            limit = encoder.max_seq_length
            log.warning("%d of %d prompts are selected for by their first %s tokens alone", cut, len(prompts), limit)
        return embed(encoder, prompts, self.batch_size) @ embed(encoder, requests, self.batch_size).T


def _said(prompt: Prompt) -> str:
    return "\n".join(turn["content"] for turn in wording.opening(prompt) if turn["role"] == "user")
