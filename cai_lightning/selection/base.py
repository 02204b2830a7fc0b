"""The contract of principle selection; a new strategy is one subclass, named at `predict.model.init_args.selector`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from cai_lightning.constitution import Principle
from cai_lightning.records import Prompt


@dataclass(frozen=True)
class Selection:
    """The principle chosen for one round, and its cosine similarity to the prompt where the strategy has one."""

    principle: Principle
    similarity: float | None = None


class PrincipleSelector(ABC):
    """Chooses the principle of each critique. A choice depends on the seed, the prompt and the round alone: neither on
    the order of the rows, nor on the process, nor on a run having been resumed."""

    INCIDENTAL: frozenset[str] = frozenset()
    """Settings that cannot change a choice, such as a batch size."""

    @abstractmethod
    def prepare(self, principles: Sequence[Principle], prompts: Sequence[Prompt], seed: int) -> None:
        """Called once before the first `select`, with every prompt that this process will ask about."""

    @abstractmethod
    def select(self, prompt: Prompt, turn: int) -> Selection:
        """The principle of round `turn` (from 0) for this prompt."""
