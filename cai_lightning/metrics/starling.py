"""A reward model in the layout of Starling-RM-7B-alpha: a Llama without its last layer, and a head of one number.

The model card wraps a Llama: its backbone is `transformer`, its head of one number `v_head`. The tensors lie in
`pytorch_model.bin` (in shards with an index, too) or in one `*.pt`. The card loads them with `strict=False`, which
leaves at random whatever is missing; here every tensor has to be there, and none may be left over.

https://huggingface.co/berkeley-nest/Starling-RM-7B-alpha
"""

from collections.abc import Sequence
from pathlib import Path
from zipfile import is_zipfile

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from cai_lightning.metrics.rewards import Encoded, Reward, padded
from cai_lightning.models.hub import WeightIndex, open_tokenizer, opening
from cai_lightning.principles import wording
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_json
from cai_lightning.run.records import Conversation, user

BACKBONE = "transformer."
HEAD = "v_head.weight"

_INDEX = "pytorch_model.bin.index.json"
_SAME_BACKBONE = "model.model."
"""The card's wrapper holds the backbone twice, so that a state dict of the wrapper names it twice."""

_UNUSED = ("model.lm_head.weight", ".rotary_emb.inv_freq")
"""The head for next tokens, which the wrapper keeps, and angles that older versions of transformers wrote down."""


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
            known = _known_as(key)
            if key.endswith(_UNUSED):
                continue
            if known in weights and not _same(weights[known], tensor):
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
    if (folder / _INDEX).is_file():
        return _shards(folder / _INDEX)
    found = [path for path in (folder / "pytorch_model.bin",) if path.is_file()] or sorted(folder.glob("*.pt"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(f"reward model {name!r}: expected pytorch_model.bin or a single *.pt, found {names}.")
    return found


def _shards(index: Path) -> list[Path]:
    """The files that an index names; it may name none outside its folder."""
    names = sorted(set(read_json(index, WeightIndex, "index").weight_map.values()))
    outside = [name for name in names if name != Path(name).name]
    if outside:
        raise UserError(f"{index}: {outside[0]!r} is no file beside it.")
    return [index.parent / name for name in names]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with opening("checkpoint", str(path)):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except (RuntimeError, EOFError) as error:
        cause = next(iter(str(error).splitlines()), "it is empty")
        raise UserError(f"{path}: this checkpoint is broken ({cause}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected tensors by name, found {type(content).__name__}.")
    for key, value in content.items():
        if not isinstance(key, str):
            raise UserError(f"{path}: expected tensors by name, found one by {key!r:.60}.")
        if not isinstance(value, Tensor):
            raise UserError(f"{path} holds more than weights: {key!r} is no tensor but {type(value).__name__}.")
    return content


def _known_as(key: str) -> str:
    return BACKBONE + key.removeprefix(_SAME_BACKBONE) if key.startswith(_SAME_BACKBONE) else key


def _same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() or torch.equal(one, other)


class Starling(Reward):
    """The number that the head gives the last token of a conversation.

    Args:
        backbone: The Llama.
        head: Weights of the head, a float32 tensor of the hidden size, for bfloat16 is too coarse for a score.
        tokenizer: That of the backbone.
        max_length: Tokens of a conversation, `<s>` included, which stays when the beginning is cut off.
    """

    def __init__(
        self, backbone: PreTrainedModel, head: Tensor, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> None:
        self._backbone = backbone
        self._head = head
        self._tokenizer = tokenizer
        self._max_length = max_length

    def encode(self, conversation: Conversation) -> Encoded:
        text = wording.starling(conversation)
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) <= self._max_length:
            return Encoded(ids, truncated=False)
        return Encoded([ids[0], *ids[len(ids) - self._max_length + 1 :]], truncated=True)

    def rewards(self, batch: Sequence[Encoded]) -> Tensor:
        """Padding stands on the right, where a causal model does not look: it needs no mask."""
        ids = padded([one.ids for one in batch], self._tokenizer.unk_token_id, self._backbone.device)
        ends = torch.tensor([len(one.ids) - 1 for one in batch], device=ids.device)
        states = self._backbone(input_ids=ids, use_cache=False).last_hidden_state
        last: Tensor = states[torch.arange(len(batch), device=ids.device), ends]
        return (last.float() @ self._head).cpu()


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
    backbone = type(skeleton).from_pretrained(
        None,
        config=config,
        state_dict={key.removeprefix(BACKBONE): tensor for key, tensor in weights.items()},
        dtype=dtype,
    )
    length = min(max_length, config.max_position_embeddings)
    return Starling(backbone.eval().to(device), head, tokenizer, length)


def _open_tokenizer(base: str) -> PreTrainedTokenizerBase:
    tokenizer = open_tokenizer("base of the reward model", base)
    begin = tokenizer(wording.starling([user("Hello?")]), add_special_tokens=False)["input_ids"][:1]
    if tokenizer.unk_token_id is None or begin != [tokenizer.convert_tokens_to_ids("<s>")]:
        raise UserError(f"base of the reward model {base!r}: its tokenizer knows no <unk> or <s>, unlike Llama 2's.")
    return tokenizer
