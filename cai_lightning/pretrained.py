"""Opens pretrained models: one clear message for every way in which one fails to open, and what stands behind a name.

    with opening("sentence encoder", name):
        encoder = SentenceTransformer(name)
    revision(name)

The libraries raise several kinds of error, some of them a page long, for a misspelt name or an absent network.
"""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from cai_lightning.digests import sampled_digest
from cai_lightning.errors import UserError
from cai_lightning.json_file import load_json, object_at

DType = Literal["auto", "float32", "bfloat16", "float16"]
"""The number format of a model's weights; `auto` leaves the choice to what opens them."""

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
)
"""What the libraries raise for a model that is missing or broken, see `opening`."""


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
    index = object_at(found, "its top", load_json(found, "index of weights"))
    parts = object_at(found, "weight_map", index.get("weight_map"))
    return sorted({folder / str(name) for name in parts.values()})


def _folder_revision(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in place.parts):
            whole.update(f"{place.as_posix()}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            whole.update(sampled_digest(path))
    return whole.hexdigest()[:16]
