"""Pretrained models by name: what goes wrong when one is opened, what stands behind its name, and an adapter's base.

    with opening("sentence encoder", name):
        encoder = SentenceTransformer(name)
    revision(name)
    check_adapter(base.config, folder)  # an adapter is put on no other base than its own

The libraries raise several kinds of error, some of them a page long, for a misspelt name or an absent network.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from cai_lightning.run.errors import UserError
from cai_lightning.run.manifest import sampled_digest
from cai_lightning.run.reading import read_json
from cai_lightning.run.records import FOREIGN

DType = Literal["auto", "float32", "bfloat16", "float16"]
"""The number format of a model's weights; `auto` leaves the choice to what opens them."""

FINGERPRINT = "base_fingerprint.json"
"""Beside an adapter: the name, the weights and the shapes of its base."""

SHAPES = ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""The files of weights, or their list, in the order in which transformers looks for them."""

BROKEN = (
    OSError,
    ValueError,
    SafetensorError,
    UnpicklingError,
    KeyError,
    AttributeError,
    TypeError,
    RecursionError,
    IndexError,
    struct.error,
    ImportError,
)
"""What the libraries raise for a model that is missing or broken, see `opening`."""


@dataclass(frozen=True)
class WeightIndex:
    """The index of weights that are cut in several files: by the name of each tensor the file that holds it."""

    __pydantic_config__ = FOREIGN

    weight_map: dict[str, str]


def revision(name: str) -> str | None:
    """What stands behind the name of a model at present, told in milliseconds without loading it.

    Args:
        name: A folder, a `.gguf` file, or a name on the Hugging Face hub.

    Returns:
        Of a folder 16 hex digits that stand for the names, sizes and contents of its files, large files by samples; of
        a file those of its content; of a name the commit in this machine's cache; None where there is none of these.
    """
    folder = Path(name)
    if folder.is_file():
        return weights_revision(name)
    if folder.is_dir():
        return _folder_revision(folder)
    snapshot = _snapshot(name)
    return snapshot.name if snapshot else None


def weights_revision(name: str) -> str | None:
    """What stands in the weight files of a model: the same for a name on the hub and a folder that was made of it.

    Args:
        name: A folder, a `.gguf` file, or a name on the Hugging Face hub.

    Returns:
        16 hex digits of the contents of the files that transformers reads, large ones by samples; None where they are
        not all on this machine.
    """
    place = Path(name) if Path(name).exists() else _snapshot(name)
    files = _weight_files(place) if place else []
    if not files or not all(path.is_file() for path in files):
        return None
    whole = hashlib.sha256()
    for path in files:
        whole.update(sampled_digest(path))
    return whole.hexdigest()[:16]


@contextmanager
def opening(kind: str, name: str) -> Iterator[None]:
    """Turns what the libraries raise for a missing or broken model into a `UserError`.

    Seen: OSError without a network, for an unknown name and for a missing folder or weights; ValueError for a folder
    without a readable `config.json`; SafetensorError for weights that are cut short; UnpicklingError for a `.bin` that
    holds more than weights; KeyError, AttributeError, TypeError, RecursionError and a bare Exception for a file of a
    tokenizer that is JSON of another kind; IndexError and struct.error for a `.gguf` file that is cut short.

    Args:
        kind: What is opened, such as `sentence encoder`.
        name: Its folder, or its name on the Hugging Face hub.
    """
    try:
        yield
    except Exception as error:  # a bare one is what tokenizers raises; any other goes on
        if not isinstance(error, BROKEN) and type(error) is not Exception:
            raise
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        cause = first_line.split(". ")[0].rstrip(".")
        raise UserError(
            f"{kind} {name!r} cannot be opened ({cause}); name a folder that holds one, or a model on the"
            " Hugging Face hub that this machine can reach or has in its cache."
        ) from error


def check_tokenizer(kind: str, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a tokenizer of nothing but special tokens, which transformers makes up where a folder holds none.

    Args:
        kind: What the tokenizer belongs to, such as `sentence encoder`.
        name: The folder or the name that it was opened by.
        tokenizer: The tokenizer; every text would be unknown to it.
    """
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise UserError(f"{kind} {name!r} has no tokenizer: put its tokenizer.json beside the weights.")


def _snapshot(name: str) -> Path | None:
    """The folder in this machine's cache that holds the files of a name on the hub, all or some of them."""
    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # a path where no folder is
        return None
    return Path(config).parent if isinstance(config, str) else None


def _weight_files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None or found.suffix != ".json":
        return [found] if found else []
    return sorted({folder / name for name in read_json(found, WeightIndex, "index of weights").weight_map.values()})


def _folder_revision(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in place.parts):
            whole.update(f"{place.as_posix()}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            whole.update(sampled_digest(path))
    return whole.hexdigest()[:16]


def save_fingerprint(base: PreTrainedConfig, folder: Path) -> None:
    """Writes beside an adapter the name of its base, what stands in its weight files, and its shapes."""
    _write(_fingerprint(base), folder)


def copy_fingerprint(source: Path, folder: Path, base: str) -> None:
    """Writes that of one adapter beside a copy of it, where the base goes by another name."""
    if (kept := _read(source)) is not None:
        _write(kept | {"base": base}, folder)


def check_adapter(base: PreTrainedConfig, folder: Path) -> None:
    """Refuses an adapter of another base: one for a deeper base loads on a shallower one without a warning, and one
    for a base of the same shapes on any of them.

    Raises:
        UserError: There is no adapter, the shapes differ, or the weights do where both are known.
    """
    if not (folder / "adapter_config.json").exists():
        raise UserError(f"{folder}: no adapter there (adapter_config.json is missing); run fit first, or name another.")
    trained, found = _read(folder), _fingerprint(base)
    if trained is None:
        return
    for key in SHAPES:
        if trained.get(key) != found[key]:
            raise UserError(
                f"{folder}: this adapter was trained on a base with {key} {trained.get(key)}; "
                f"{found['base']} has {found[key]}."
            )
    weights = trained.get("weights"), found["weights"]
    if None not in weights and weights[0] != weights[1]:
        raise UserError(
            f"{folder}: this adapter was trained on {trained.get('base')} (weights {weights[0]}), and {found['base']} "
            f"(weights {weights[1]}) is another model of the same shapes. Name the first; if the two are the same one "
            f"in other files, remove {folder / FINGERPRINT}."
        )


def _fingerprint(base: PreTrainedConfig) -> dict[str, Any]:
    config = base.to_dict()
    shapes = {key: config.get(key) for key in SHAPES}
    return {"base": base.name_or_path, "weights": weights_revision(base.name_or_path), **shapes}


def _write(content: dict[str, Any], folder: Path) -> None:
    (folder / FINGERPRINT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, Any] | None:
    """None beside an adapter that was trained elsewhere."""
    path = folder / FINGERPRINT
    return read_json(path, dict[str, Any], "fingerprint of a base") if path.exists() else None
