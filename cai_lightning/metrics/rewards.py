"""The contract of a reward model, how texts of any lengths are scored with it, and the layout that most come in.

encoded = [reward.encode(conversation) for conversation in conversations]
scores = score_all(reward, encoded, budget=16_384)

Most are sequence classifiers with one label, such as OpenAssistant's and Skywork's.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cai_lightning.models.hub import longest_input, open_classifier
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation


@dataclass(frozen=True)
class Encoded:
    """A conversation as a reward model reads it.

    Args:
        ids: Its tokens.
        truncated: Whether its beginning was cut off.
        segments: For each token the text of a pair that it belongs to, 0 or 1; None where the model has no use for it.
    """

    ids: list[int]
    truncated: bool
    segments: list[int] | None = None


class Reward(ABC):
    """Gives a conversation that ends in the assistant's words one number, the higher the better."""

    @abstractmethod
    def encode(self, conversation: Conversation) -> Encoded:
        """The conversation as tokens, without its beginning where it is too long."""

    @abstractmethod
    def rewards(self, batch: Sequence[Encoded]) -> Tensor:
        """The rewards of N conversations, on the CPU; none may depend on what it shares the batch with."""


@torch.inference_mode()
def score_all(reward: Reward, encoded: Sequence[Encoded], budget: int) -> Tensor:
    """The rewards of N conversations in their order, computed in batches of similar lengths.

    Args:
        reward: The reward model.
        encoded: What `reward.encode` has made of the conversations.
        budget: Tokens of a batch, padding included; a longer conversation is a batch of its own.
    """
    scores = torch.empty(len(encoded))
    for rows in batches([len(one.ids) for one in encoded], budget):
        scores[rows] = reward.rewards([encoded[row] for row in rows])
    return scores


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """The numbers of rows that are computed together, the longest rows first, so that too large a batch fails at once.

    >>> list(batches([1, 4, 2, 3], budget=6))
    [[1], [3, 2], [0]]
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def padded(rows: Sequence[Sequence[int]], filler: int, device: torch.device) -> Tensor:
    """Rows of any lengths as one tensor, filled up on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], device=device)


Wording = Literal["chat", "pair"]


class SequenceReward(Reward):
    """The logit of a classifier's only label.

    Args:
        classifier: The model.
        tokenizer: Its tokenizer.
        wording: `chat` words the conversation with the tokenizer's chat template; `pair` gives the last response as
            the second text and all before it, turns joined by blank lines, as the first.
        max_length: Tokens of a conversation; the beginning of a longer one is cut off.
    """

    def __init__(
        self, classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, wording: Wording, max_length: int
    ) -> None:
        self._classifier = classifier
        self._tokenizer = tokenizer
        self._wording = wording
        self._max_length = max_length

    def encode(self, conversation: Conversation) -> Encoded:
        return self._encode_chat(conversation) if self._wording == "chat" else self._encode_pair(conversation)

    def rewards(self, batch: Sequence[Encoded]) -> Tensor:
        """A classifier that does not know its padding token finds no end in a padded text: then each is alone."""
        if self._classifier.config.pad_token_id is None:
            return torch.cat([self._forward([one], filler=0) for one in batch])
        return self._forward(batch, self._classifier.config.pad_token_id)

    def _forward(self, batch: Sequence[Encoded], filler: int) -> Tensor:
        device = self._classifier.device
        inputs = {
            "input_ids": padded([one.ids for one in batch], filler, device),
            "attention_mask": padded([[1] * len(one.ids) for one in batch], 0, device),
        }
        if batch[0].segments is not None:
            inputs["token_type_ids"] = padded([one.segments or [] for one in batch], 0, device)
        logits: Tensor = self._classifier(**inputs).logits
        return logits[:, 0].float().cpu()

    def _encode_chat(self, conversation: Conversation) -> Encoded:
        ids = self._tokenizer.apply_chat_template(conversation, return_dict=True)["input_ids"]
        return Encoded(ids[-self._max_length :], truncated=len(ids) > self._max_length)

    def _encode_pair(self, conversation: Conversation) -> Encoded:
        asked = "\n\n".join(turn["content"] for turn in conversation[:-1])
        texts = (asked, conversation[-1]["content"])
        whole = self._tokenizer(*texts, verbose=False)
        if len(whole["input_ids"]) <= self._max_length:
            return Encoded(whole["input_ids"], False, whole.get("token_type_ids"))
        cut = self._tokenizer(*texts, truncation="longest_first", max_length=self._max_length)
        return Encoded(cut["input_ids"], True, cut.get("token_type_ids"))


def open_sequence(
    model: str, wording: Wording, dtype: torch.dtype, max_length: int, device: torch.device
) -> SequenceReward:
    """Opens a sequence classifier as a reward model.

    Args:
        model: Its folder, or its name on the Hugging Face hub.
        wording: See `SequenceReward`.
        dtype: Number format of its weights.
        max_length: See `SequenceReward`; a model of fewer positions gets shorter texts.
        device: Where it computes.

    Raises:
        UserError: There is no such classifier, it has more labels than one, or no chat template where it needs one.
    """
    classifier, tokenizer = open_classifier("reward model", model, device, dtype)
    if classifier.config.num_labels != 1:
        raise UserError(f"reward model {model!r} has {classifier.config.num_labels} labels; a reward is one number.")
    if wording == "chat" and not tokenizer.chat_template:
        raise UserError(f"reward model {model!r} has no chat template; with layout: pair it reads a pair of texts.")
    tokenizer.truncation_side = "left"
    return SequenceReward(classifier.eval(), tokenizer, wording, longest_input(classifier, tokenizer, max_length))
