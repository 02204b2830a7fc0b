"""Reward models: their contract, how texts of any lengths are scored with one, and the two layouts that they come in.

encoded = [reward.encode(conversation) for conversation in conversations]
scores = score_all(reward, encoded, budget=16_384)

Most are sequence classifiers with one label, such as OpenAssistant's and Skywork's.

Starling-RM-7B-alpha is a Llama without its last layer, and a head of one number. Its model card wraps the Llama: the
backbone is `transformer`, the head `v_head`. The tensors lie in `pytorch_model.bin` (in shards with an index, too) or
in one `*.pt`. The card loads them with `strict=False`, which leaves at random whatever is missing; here every tensor
has to be there, and none may be left over. https://huggingface.co/berkeley-nest/Starling-RM-7B-alpha
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import is_zipfile

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from cai_lightning.data.batches import in_batches
from cai_lightning.models.adapters import is_scorer, open_scorer
from cai_lightning.models.hub import WeightIndex, longest_input, open_classifier, open_tokenizer, opening
from cai_lightning.principles import wording
from cai_lightning.run.errors import UserError, first_sentence
from cai_lightning.run.jsonl import read_json
from cai_lightning.run.records import Conversation, user

Wording = Literal["chat", "pair"]

BACKBONE = "transformer."
HEAD = "v_head.weight"

_SAME_BACKBONE = r"^model\.model\."
"""The card's wrapper holds the backbone twice, so that a state dict of the wrapper names it twice."""

_UNUSED = ("model.lm_head.weight", ".rotary_emb.inv_freq")
"""The head for next tokens, which the wrapper keeps, and angles that older versions of transformers wrote down."""


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

    The longest come first, so that too large a batch fails at once.

    Args:
        reward: The reward model.
        encoded: What `reward.encode` has made of the conversations.
        budget: Tokens of a batch, padding included; a longer conversation is a batch of its own.
    """
    scores = torch.empty(len(encoded))
    lengths = [len(one.ids) for one in encoded]
    longest_first = sorted(range(len(encoded)), key=lambda row: -lengths[row])
    for rows in in_batches(longest_first, lambda batch: len(batch) * lengths[batch[0]] <= budget):
        scores[rows] = reward.rewards([encoded[row] for row in rows])
    return scores


def padded(rows: Sequence[Sequence[int]], filler: int, device: torch.device) -> Tensor:
    """Rows of any lengths as one tensor, filled up on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], device=device)


@dataclass(frozen=True)
class SequenceReward(Reward):
    """The logit of a classifier's only label.

    Args:
        classifier: The model.
        tokenizer: Its tokenizer.
        wording: `chat` words the conversation with the tokenizer's chat template; `pair` gives the last response as
            the second text and all before it, turns joined by blank lines, as the first.
        max_length: Tokens of a conversation; the beginning of a longer one is cut off.
    """

    classifier: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    wording: Wording
    max_length: int

    def encode(self, conversation: Conversation) -> Encoded:
        if self.wording == "chat":
            ids = self.tokenizer.apply_chat_template(conversation, return_dict=True)["input_ids"]
            return Encoded(ids[-self.max_length :], truncated=len(ids) > self.max_length)
        texts = "\n\n".join(turn["content"] for turn in conversation[:-1]), conversation[-1]["content"]
        read = self.tokenizer(*texts, verbose=False)
        is_long = len(read["input_ids"]) > self.max_length
        if is_long:
            read = self.tokenizer(*texts, truncation="longest_first", max_length=self.max_length)
        return Encoded(read["input_ids"], is_long, read.get("token_type_ids"))

    def rewards(self, batch: Sequence[Encoded]) -> Tensor:
        """A classifier that does not know its padding token finds no end in a padded text: then each is alone."""
        if self.classifier.config.pad_token_id is None:
            return torch.cat([self._forward([one], filler=0) for one in batch])
        return self._forward(batch, self.classifier.config.pad_token_id)

    def _forward(self, batch: Sequence[Encoded], filler: int) -> Tensor:
        device = self.classifier.device
        inputs = {
            "input_ids": padded([one.ids for one in batch], filler, device),
            "attention_mask": padded([[1] * len(one.ids) for one in batch], 0, device),
        }
        if batch[0].segments is not None:
            inputs["token_type_ids"] = padded([one.segments or [] for one in batch], 0, device)
        logits: Tensor = self.classifier(**inputs).logits
        return logits[:, 0].float().cpu()


def open_sequence(
    model: str, wording: Wording, dtype: torch.dtype, max_length: int, device: torch.device
) -> SequenceReward:
    """Opens a sequence classifier as a reward model.

    Args:
        model: Its folder, or its name on the Hugging Face hub; or the folder of an adapter with a head, as fit leaves
            it where a preference model is trained.
        wording: See `SequenceReward`.
        dtype: Number format of its weights.
        max_length: See `SequenceReward`; a model of fewer positions gets shorter texts.
        device: Where it computes.

    Raises:
        UserError: There is no such classifier, it has more labels than one, or no chat template where it needs one.
    """
    opened = open_scorer if is_scorer(Path(model)) else open_classifier
    classifier, tokenizer = opened("reward model", model, device, dtype)
    if classifier.config.num_labels != 1:
        raise UserError(f"reward model {model!r} has {classifier.config.num_labels} labels; a reward is one number.")
    if wording == "chat" and not tokenizer.chat_template:
        raise UserError(f"reward model {model!r} has no chat template; with layout: pair it reads a pair of texts.")
    tokenizer.truncation_side = "left"
    return SequenceReward(classifier.eval(), tokenizer, wording, longest_input(classifier, tokenizer, max_length))


@dataclass(frozen=True)
class Starling(Reward):
    """The number that the head gives the last token of a conversation.

    Args:
        backbone: The Llama.
        head: Weights of the head, a float32 tensor of the hidden size, for bfloat16 is too coarse for a score.
        tokenizer: That of the backbone.
        max_length: Tokens of a conversation, `<s>` included, which stays when the beginning is cut off.
    """

    backbone: PreTrainedModel
    head: Tensor
    tokenizer: PreTrainedTokenizerBase
    max_length: int

    def encode(self, conversation: Conversation) -> Encoded:
        text = wording.starling(conversation)
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) <= self.max_length:
            return Encoded(ids, truncated=False)
        return Encoded([ids[0], *ids[len(ids) - self.max_length + 1 :]], truncated=True)

    def rewards(self, batch: Sequence[Encoded]) -> Tensor:
        """Padding stands on the right, where a causal model does not look: it needs no mask."""
        ids = padded([one.ids for one in batch], self.tokenizer.unk_token_id, self.backbone.device)
        ends = torch.tensor([len(one.ids) - 1 for one in batch], device=ids.device)
        states = self.backbone(input_ids=ids, use_cache=False).last_hidden_state
        last: Tensor = states[torch.arange(len(batch), device=ids.device), ends]
        return (last.float() @ self.head).cpu()


def open_starling(model: str, base: str, dtype: torch.dtype, max_length: int, device: torch.device) -> Starling:
    """Opens a checkpoint in Starling's layout; the weights go from the disk into `dtype` one after the other.

    Args:
        model: Folder or Hugging Face name of the checkpoint.
        base: Folder or Hugging Face name that the backbone's configuration and tokenizer come from.
        dtype: Number format of the backbone.
        max_length: See `Starling`.
        device: Where it computes.

    Raises:
        UserError: Checkpoint or base are not to be had, or do not fit each other.
    """
    tokenizer = _open_tokenizer(base)
    with opening("base of the reward model", base):
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    with torch.device("meta"):
        skeleton = AutoModel.from_config(config)
    weights = read_checkpoint(model)
    check_fit(model, weights, skeleton)
    head = weights.pop(HEAD)[0].float().to(device)
    state = {key.removeprefix(BACKBONE): tensor for key, tensor in weights.items()}
    backbone = type(skeleton).from_pretrained(None, config=config, state_dict=state, dtype=dtype)
    length = min(max_length, config.max_position_embeddings)
    return Starling(backbone.eval().to(device), head, tokenizer, length)


def _open_tokenizer(base: str) -> PreTrainedTokenizerBase:
    tokenizer = open_tokenizer("base of the reward model", base)
    begin = tokenizer(wording.starling([user("Hello?")]), add_special_tokens=False)["input_ids"][:1]
    if tokenizer.unk_token_id is None or begin != [tokenizer.convert_tokens_to_ids("<s>")]:
        raise UserError(f"base of the reward model {base!r}: its tokenizer knows no <unk> or <s>, unlike Llama 2's.")
    return tokenizer


def read_checkpoint(name: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; they stay on the disk until they are used.

    Args:
        name: Its folder, or its name on the Hugging Face hub.

    Raises:
        UserError: There is no such checkpoint, or it holds more than weights.
    """
    weights: dict[str, Tensor] = {}
    for path in _files(_folder(name), name):
        for key, tensor in _read(path).items():
            known = re.sub(_SAME_BACKBONE, BACKBONE, key)
            if key.endswith(_UNUSED):
                continue
            same = weights.get(known, tensor)
            if same.data_ptr() != tensor.data_ptr() and not torch.equal(same, tensor):
                raise UserError(f"{path}: {key} is not equal to {known}, which names the same weights.")
            weights[known] = tensor
    return weights


def check_fit(name: str, weights: dict[str, Tensor], backbone: PreTrainedModel) -> None:
    """Makes sure that the weights are those of the backbone and of a head of one number, no more and no less.

    Args:
        name: Of the checkpoint, for messages.
        weights: What `read_checkpoint` has read.
        backbone: The backbone without weights, on the meta device.

    Raises:
        UserError: Tensors are missing, unexpected, or of another shape; the message names them.
    """
    wanted = {BACKBONE + key: tensor.shape for key, tensor in backbone.state_dict().items()}
    wanted[HEAD] = torch.Size([1, backbone.config.hidden_size])
    other = sorted(key for key in wanted.keys() & weights.keys() if weights[key].shape != wanted[key])
    for keys, problem in (
        (sorted(wanted.keys() - weights.keys()), "lacks"),
        (sorted(weights.keys() - wanted.keys()), "does not fit its base, which has no place for"),
        ([f"{key} {tuple(weights[key].shape)}" for key in other], "does not fit its base in the shape of"),
    ):
        if keys:
            raise UserError(f"reward model {name!r} {problem} {', '.join(keys[:4])} ({len(keys)} in all).")


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    with opening("reward model", name):
        patterns = ["config.json", "pytorch_model*", "*.pt"]
        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))


def _files(folder: Path, name: str) -> list[Path]:
    index = folder / "pytorch_model.bin.index.json"
    if index.is_file():
        return _shards(index)
    found = [*folder.glob("pytorch_model.bin")] or sorted(folder.glob("*.pt"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(f"reward model {name!r}: expected pytorch_model.bin or a single *.pt, found {names}.")
    return found


def _shards(index: Path) -> list[Path]:
    """The files that an index names; it may name none outside its folder."""
    names = sorted(set(read_json(index, WeightIndex, "index").weight_map.values()))
    for name in names:
        if name != Path(name).name:
            raise UserError(f"{index}: {name!r} is no file beside it.")
    return [index.parent / name for name in names]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with opening("checkpoint", str(path)):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except RuntimeError as error:
        raise UserError(f"{path}: this checkpoint is broken ({first_sentence(error)}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected tensors by name, found {type(content).__name__}.")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: expected tensors by name, found {type(value).__name__} by {key!r:.60}.")
    return content
