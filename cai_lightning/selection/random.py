"""Random selection: every round draws a principle independently of the others (Bai et al. 2022, section 3.1)."""

import random
from collections.abc import Sequence

from cai_lightning.constitution import Principle
from cai_lightning.records import Prompt
from cai_lightning.selection.base import PrincipleSelector, Selection


class RandomSelector(PrincipleSelector):
    """Draws each round's principle from the whole constitution, as the paper does."""

    def prepare(self, principles: Sequence[Principle], prompts: Sequence[Prompt], seed: int) -> None:
        self._principles = tuple(principles)
        self._seed = seed

    def select(self, prompt: Prompt, turn: int) -> Selection:
        return Selection(random.Random(f"{self._seed}:{prompt.id}:{turn}").choice(self._principles))
