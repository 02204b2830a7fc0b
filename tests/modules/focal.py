"""An objective from outside the package, whole, as a user would write it: one file, and its class path in the YAML."""

from dataclasses import dataclass

from torch import Tensor

from cai_lightning.data.batches import IGNORED, Batch
from cai_lightning.modules import PolicyModule
from cai_lightning.modules.losses import token_logprobs


@dataclass(eq=False, repr=False)
class Focal(PolicyModule):
    """Learns what is not known yet (the focal loss of Lin et al. 2017, over tokens).

    Args:
        gamma: How much less a token counts that is well predicted; 0 is cross-entropy.
    """

    gamma: float = 2.0

    def summed_loss(self, batch: Batch) -> tuple[Tensor, int]:
        targets = batch["labels"][:, 1:]
        kept = targets != IGNORED
        logprobs = token_logprobs(self.hidden_states(batch)[:, :-1][kept], targets[kept], self.head)
        return -((1 - logprobs.exp()) ** self.gamma * logprobs).sum(), int(kept.sum())
