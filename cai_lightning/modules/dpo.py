"""Direct preference optimization: a policy learns the preferences of a feedback model without a reward model.

The reference is the frozen start of the training: the adapter that it starts from, and the base model only where it
starts from none. As the pairs are fixed, its log-probabilities are computed once, before the first step, and kept in
`<run>/reference.safetensors`; a training that is resumed reads them there, for by then its weights are others.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cai_lightning.data.batches import IGNORED, Batch
from cai_lightning.data.pairs import Comparison, EncodedPair, as_replies, of_pairs
from cai_lightning.data.preference_data import LEARNED, PreferenceData
from cai_lightning.data.prompts import Part
from cai_lightning.models.hub import weights_revision
from cai_lightning.models.policy import without_dropout
from cai_lightning.modules.losses import ipo, label_entropy, nll_of_better, soft_dpo, token_logprobs
from cai_lightning.modules.policy_module import PolicyModule
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.files import replace_file

REFERENCE = "reference.safetensors"


@dataclass(eq=False, repr=False)
class DirectPreferenceOptimization(PolicyModule):
    """Moves a policy from its start towards the responses that are held to be better, by how much they are.

    The loss is a mean over the pairs of a step. Dropout is left out, for the reference has none. Logged beside the loss
    are `excess`, what of it is not the labels' own entropy; `accuracy`, how often the policy leans to the better side,
    compared with its start; `margin`, by how much (times beta); and `chosen` and `rejected`, the log-probabilities of
    the better and the worse response, which may both fall.

    Args:
        loss: `dpo` (Rafailov et al. 2023, for labels that are probabilities), or `ipo` (Azar et al. 2023).
        beta: How much the policy pays for leaving its start, above 0; IPO's tau.
        nll: Weight of a term that keeps the better response likely: its negative log-likelihood a token, times how
            sure the label is.
        per_token: Takes means over the tokens of a response instead of sums, for which beta has to be larger.
    """

    loss: Literal["dpo", "ipo"] = "dpo"
    beta: float = 0.1
    nll: float = 0.0
    per_token: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta <= 0:
            raise ValueError(f"model.beta: a number above 0 expected, found {self.beta}")
        if self.nll < 0:
            raise ValueError(f"model.nll: must be ≥ 0, not {self.nll}")

    def encode(self, comparison: Comparison, max_length: int) -> EncodedPair:
        """The pair as tokens, of which those of both responses are learned."""
        return as_replies(self.tokenizer, comparison, max_length)

    def summed_loss(self, batch: Batch) -> tuple[Tensor, int]:
        """The loss summed over the P pairs of a batch, and P."""
        pairs, logprobs = of_pairs(batch), self.logprobs(batch)
        label, tokens = pairs["preferences"].to(logprobs), pairs["supervised"].view(-1, 2)
        change = logprobs - pairs["references"].to(logprobs)
        change = change / tokens if self.per_token else change
        delta = change[:, 0] - change[:, 1]
        preferred = soft_dpo(delta, label, self.beta) if self.loss == "dpo" else ipo(delta, label, self.beta)
        floor = label_entropy(label) if self.loss == "dpo" else torch.zeros_like(label)
        sign = (2 * label - 1).sign()
        better, worse = logprobs.gather(1, (sign < 0).long()[:, None]), logprobs.gather(1, (sign >= 0).long()[:, None])
        self.note(
            excess=preferred - floor,
            accuracy=(1 + sign * delta.sign()) / 2,
            margin=self.beta * sign * delta,
            chosen=better[:, 0],
            rejected=worse[:, 0],
        )
        losses = preferred + self.nll * nll_of_better(logprobs / tokens, label) if self.nll else preferred
        return losses.sum(), len(label)

    def logprobs(self, batch: Batch) -> Tensor:
        """The log-probabilities of both responses of each pair under the policy, summed over their tokens, [P, 2]."""
        targets, supervised = batch["labels"][:, 1:], of_pairs(batch)["supervised"]
        kept = targets != IGNORED
        each = token_logprobs(self.hidden_states(batch)[:, :-1][kept], targets[kept], self.head)
        owners = torch.repeat_interleave(supervised, output_size=len(each))
        return each.new_zeros(len(supervised)).index_add(0, owners, each).view(-1, 2)

    def begin(self) -> None:
        """Hands the data the log-probabilities of its pairs under the reference.

        Raises:
            UserError: The data are no pairs, or a training that is resumed lacks what it began with.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, PreferenceData):
            raise UserError("model: DirectPreferenceOptimization learns from pairs; take data.PreferenceData.")
        without_dropout(self.policy)
        path = Path(self.trainer.default_root_dir) / REFERENCE
        key = self._key(data)
        found = read_references(path, key)
        if found is None:
            if self.trainer.ckpt_path is not None:
                raise UserError(
                    f"{path}: what the reference gave these pairs is missing or of others, and the policy is trained "
                    "by now, so that it cannot be computed again. Begin anew: --fresh."
                )
            found = self._compute(data)
            if self.trainer.is_global_zero:
                replace_file(path, partial(_write, found, key))
        rank_zero_info(f"reference: the log-probabilities of {sum(map(len, found.values()))} pairs are in {path}")
        data.references.update(found)

    @torch.no_grad()
    def _compute(self, data: PreferenceData) -> dict[Part, Tensor]:
        """The log-probabilities of all pairs under the policy as it is, shared out over the processes."""
        rank, world = self.global_rank, self.trainer.world_size
        found: dict[Part, Tensor] = {}
        self.policy.eval()
        for name in LEARNED:
            rows = data.rows_once(name)[rank::world]
            sums = torch.zeros(len(data.pairs[name]), 2, device=self.device, dtype=torch.float64)
            for number, batch in enumerate(data.once(name)):
                moved = self.trainer.strategy.batch_to_device(batch)
                with self.trainer.precision_plugin.forward_context():
                    logprobs = self.logprobs(moved)
                if number < len(rows):
                    sums[list(rows[number])] = logprobs.double()
            found[name] = self.trainer.strategy.reduce(sums, reduce_op="sum").cpu()
        self.policy.train()
        return found

    def _key(self, data: PreferenceData) -> str:
        """What stands for all that the log-probabilities depend on, but for rounding."""
        pairs = [[one for pair in data.pairs[name] for one in pair.examples] for name in LEARNED]
        start = manifest.folder_digest(self.adapter) if self.adapter else None
        base = self.model, weights_revision(self.model), str(self.base.dtype), self.quantization
        tokens = [[(one.input_ids, one.labels, one.prefix) for one in part] for part in pairs]
        return manifest.digest([base, start, str(self.trainer.precision), tokens])


def read_references(path: Path, key: str) -> dict[Part, Tensor] | None:
    """The log-probabilities that were kept; None where there are none, or those of others.

    Args:
        path: The file.
        key: What they depend on.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as kept:
            return {name: kept.get_tensor(name) for name in LEARNED} if kept.metadata() == {"key": key} else None
    except SafetensorError:
        return None


def _write(found: dict[Part, Tensor], key: str, file: BinaryIO) -> None:
    file.write(save({str(name): values for name, values in found.items()}, {"key": key}))
