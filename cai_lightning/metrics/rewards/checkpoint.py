"""Reads the checkpoint of a reward model in Starling-RM-7B-alpha's layout, and refuses one that is not whole.

The model card wraps a Llama: its backbone is `transformer`, its head of one number `v_head`. The tensors lie in
`pytorch_model.bin` (in shards with an index, too) or in one `*.pt`. The card loads them with `strict=False`, which
leaves at random whatever is missing; here every tensor has to be there, and none may be left over.
"""

from pathlib import Path
from zipfile import is_zipfile

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import PreTrainedModel

from cai_lightning.errors import UserError
from cai_lightning.json_file import load_json, object_at
from cai_lightning.pretrained import opening

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
    places = object_at(index, "weight_map", object_at(index, "index", load_json(index, "index")).get("weight_map"))
    names = sorted({str(name) for name in places.values()})
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
