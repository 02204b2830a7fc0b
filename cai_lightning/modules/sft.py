"""Supervised fine-tuning on the cleaned revisions: the end of SL-CAI (Bai et al. 2022, 3.1)."""

from torch import Tensor

from cai_lightning.data.batches import Batch
from cai_lightning.modules.losses import supervised_loss
from cai_lightning.modules.policy_module import PolicyModule


class SupervisedFineTuning(PolicyModule):
    """Trains a LoRA adapter, or the whole model; the loss is the mean cross-entropy of all supervised tokens of a step.

    Its settings are those of every training, see `PolicyModule`.
    """

    def summed_loss(self, batch: Batch) -> tuple[Tensor, int]:
        """The summed cross-entropy of a batch, and over how many supervised tokens."""
        return supervised_loss(self.hidden_states(batch), batch["labels"], self.head)
