"""A reward model that is a sequence classifier with one label, as most are: OpenAssistant's, Skywork's and others."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cai_lightning.errors import UserError
from cai_lightning.metrics.classifier import longest_input, open_classifier
from cai_lightning.metrics.rewards.base import Encoded, Reward, padded
from cai_lightning.records import Conversation

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
