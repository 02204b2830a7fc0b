"""A preference model: one number a response, learned from which of two is better (Bai et al. 2022, section 4.1).

What fit leaves in `<run>/adapter` is a sequence classifier of one label for everybody else, and a `RewardModel` of
layout `chat` here.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from cai_lightning.data.batches import Batch
from cai_lightning.data.pairs import Comparison, EncodedPair, as_conversations, of_pairs
from cai_lightning.data.preference_data import PreferenceData
from cai_lightning.models.hub import load_config
from cai_lightning.modules.losses import label_entropy, soft_bradley_terry
from cai_lightning.modules.policy_module import PolicyModule
from cai_lightning.run.errors import UserError

BINS = 10
"""Equal parts of the predicted probability over which its calibration is reckoned."""


@dataclass(eq=False, repr=False)
class PreferenceModel(PolicyModule):
    """Learns a score whose differences are the log-odds of preferences, by a head on an adapted language model.

    A conversation is read as its chat template words it, and its score is read at its last token, as transformers'
    sequence classifiers do. The head begins at 0, so that the first loss is log 2. Logged beside the loss are `excess`,
    what of it is not the labels' own entropy; `accuracy`, how often the better response scores higher; `certainty`, how
    far predictions are from 1/2; and in validation `calibration`, by how much predictions and labels differ in the mean
    of each tenth of the predictions.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        config = load_config(self.model).get_text_config(decoder=True)
        self.pad = config.pad_token_id
        self.score = nn.Linear(config.hidden_size, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def encode(self, comparison: Comparison, max_length: int) -> EncodedPair:
        """The pair as tokens, as it is scored later."""
        return as_conversations(self.tokenizer, comparison, max_length, self.pad)

    def summed_loss(self, batch: Batch) -> tuple[Tensor, int]:
        """The soft Bradley-Terry loss summed over the P pairs of a batch, and P."""
        scores = self.scores(batch)
        label, difference = of_pairs(batch)["preferences"].to(scores), scores[:, 0] - scores[:, 1]
        losses, predicted = soft_bradley_terry(difference, label), difference.detach().sigmoid()
        self.note(
            excess=losses - label_entropy(label),
            accuracy=(1 + (2 * label - 1).sign() * difference.sign()) / 2,
            certainty=(predicted - 0.5).abs(),
        )
        if not self.training:
            self.note(calibration=residuals(predicted, label))
        return losses.sum(), len(label)

    def scores(self, batch: Batch) -> Tensor:
        """The scores of both responses of each pair [P, 2]."""
        hidden = self.hidden_states(batch).flatten(0, 1)[of_pairs(batch)["places"]]
        weight = self.score.weight[0]
        return (hidden.to(weight.dtype) * weight).sum(-1).view(-1, 2)  # no product that mixed precision rounds

    def begin(self) -> None:
        """Makes sure that there are pairs to learn from, and that the head is trained alike everywhere.

        Raises:
            UserError: The data are no pairs, or layers are shared out over processes.
        """
        if not isinstance(self.trainer.datamodule, PreferenceData):  # type: ignore[attr-defined]
            raise UserError("model: PreferenceModel learns from pairs; take data.PreferenceData.")
        if self.device_mesh is not None:
            raise UserError("trainer.strategy: a preference model's layers cannot be shared out; take ddp.")


def residuals(predicted: Tensor, label: Tensor) -> Tensor:
    """Prediction less label of N pairs, each in the column of its part of the predictions [N, BINS].

    The absolute values of the columns' means add up to the expected calibration error.

    >>> import torch
    >>> residuals(torch.tensor([0.05, 0.95]), torch.tensor([0.25, 0.95])).sum(0)[:2]
    tensor([-0.2000,  0.0000])
    """
    columns = (predicted * BINS).long().clamp(max=BINS - 1)
    return nn.functional.one_hot(columns, BINS) * (predicted - label)[:, None]
