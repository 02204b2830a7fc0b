"""Pretrained models by name: opened with nothing silently missing, and what stands behind a name.

    model = load_model("Qwen/Qwen2.5-3B-Instruct", "bfloat16")
    encoder = open_encoder(MINILM)
    revision(name)  # changes when the model behind the name does

The libraries raise several kinds of error, some of them a page long, for a misspelt name or an absent network.
"""

import hashlib
import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from cai_lightning.models.template import with_arguments
from cai_lightning.run.errors import UserError, first_sentence
from cai_lightning.run.jsonl import read_json
from cai_lightning.run.manifest import sampled_digest
from cai_lightning.run.records import FOREIGN

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DType = Literal["auto", "float32", "bfloat16", "float16"]
"""The number format of a model's weights; `auto` leaves the choice to what opens them."""

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The sentence encoder of the original experiment."""

MANY = 300
"""From so many texts on a progress bar is shown."""

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""The files of weights, or their list, in the order in which transformers looks for them."""


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
    return hashlib.sha256(b"".join(map(sampled_digest, files))).hexdigest()[:16]


@contextmanager
def opening(kind: str, name: str) -> Iterator[None]:
    """Turns what the libraries raise for a missing or broken model into a `UserError`.

    Seen: OSError without a network, for an unknown name and for a missing folder or weights; ValueError for a folder
    without a readable `config.json`; SafetensorError for weights that are cut short; UnpicklingError for a `.bin` that
    holds more than weights; KeyError, AttributeError, TypeError, RecursionError and a bare Exception for a file of a
    tokenizer that is JSON of another kind; IndexError and struct.error for a `.gguf` file that is cut short.
    MemoryError and RuntimeError go on as they are: with them torch says that memory ran out, or that shapes do not fit.
    So do mistakes of code, and what says in a sentence of its own what is wrong.

    Args:
        kind: What is opened, such as `sentence encoder`.
        name: Its folder, or its name on the Hugging Face hub.
    """
    try:
        yield
    except (UserError, AssertionError, NameError, Warning):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError | MemoryError) and not isinstance(error, RecursionError):
            raise
        raise UserError(
            f"{kind} {name!r} cannot be opened ({first_sentence(error)}); name a folder that holds one, or a model on"
            " the Hugging Face hub that this machine can reach or has in its cache."
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


def open_tokenizer(kind: str, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that writes nothing; its arguments are those of `check_tokenizer`."""
    with opening(f"tokenizer of the {kind}", name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    check_tokenizer(kind, name, tokenizer)
    return tokenizer


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


def load_tokenizer(name: str, chat_template_kwargs: Mapping[str, Any] | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; padding falls back on the end-of-text token where there is none.

    Args:
        name: Name on the Hugging Face Hub, or a folder.
        chat_template_kwargs: Arguments that its chat template is given.

    Raises:
        UserError: The model is not to be had, or its chat template takes no such argument.
    """
    tokenizer: PreTrainedTokenizerBase = _opened(AutoTokenizer, name)
    tokenizer.name_or_path = name
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return with_arguments(tokenizer, chat_template_kwargs)


def load_config(name: str) -> PreTrainedConfig:
    """The shapes of a model, without its weights.

    Raises:
        UserError: The model is not to be had.
    """
    config: PreTrainedConfig = _opened(AutoConfig, name)
    config.name_or_path = name
    return config


def load_model(name: str, dtype: DType = "auto", **settings: Any) -> PreTrainedModel:
    """A causal language model; every tensor of it comes from its files.

    From then on attention is not cuDNN's in this process: on H100 and later torch prefers it, and it plans anew for
    every shape, for longer than it computes.

    Args:
        name: Name on the Hugging Face Hub, a folder, or a `.gguf` file, whose weights are unpacked.
        dtype: `auto` takes the type of the files, and bfloat16 for a `.gguf` file.
        settings: Passed on, such as `attn_implementation`.

    Raises:
        UserError: The model is not to be had, or its files lack tensors.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
    if is_gguf(name):
        settings |= _unpacked(name, settings)
        dtype = "bfloat16" if dtype == "auto" else dtype
    model: PreTrainedModel
    model, info = _opened(AutoModelForCausalLM, name, dtype=dtype, output_loading_info=True, **settings)
    model.name_or_path = model.config.name_or_path = name
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise UserError(f"language model {name!r}: its files lack {len(missing)} tensors, such as {missing[0]}.")
    return model


def is_gguf(name: str) -> bool:
    """Whether a model is named by a file of llama.cpp's format, which holds tokenizer and chat template, too."""
    return Path(name).suffix == ".gguf"


def dtype_on(device: torch.device, dtype: DType) -> DType:
    """The type to serve a model in: `auto` is float32 on a CPU that does not compute in bfloat16, as it would crawl."""
    if dtype != "auto" or device.type != "cpu":
        return dtype
    has = torch.cpu.get_capabilities()
    return "auto" if any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "float32"


def _opened(kind: Any, name: str, **settings: Any) -> Any:
    """What one of transformers' Auto classes opens of a language model."""
    place, file = _source(name)
    with opening("language model", name):
        return kind.from_pretrained(place, trust_remote_code=False, **file, **settings)


def _source(name: str) -> tuple[str, dict[str, str]]:
    """What transformers opens a model by: a `.gguf` file by its folder and its name in there.

    Raises:
        UserError: There is no such file, or the package that reads it is missing.
    """
    if not is_gguf(name):
        return name, {}
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"language model {name!r}: there is no such file.")
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"language model {name!r}: this needs gguf: pip install 'cai_lightning[gguf]'.")
    return str(path.parent), {"gguf_file": path.name}


def _unpacked(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Asks for weights in numbers, which can be trained, and not in the file's blocks; some versions do only that."""
    if "quantization_config" in settings:
        raise UserError(
            f"language model {name!r}: a .gguf file is not quantized anew; make a folder of it with "
            "scripts/convert_gguf.py, and name that."
        )
    known = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": known(dequantize=True)} if known else {}


def open_classifier(
    kind: str, name: str, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence classifier and its tokenizer; transformers fills missing weights with random numbers, an error here.

    Args:
        kind: What it is called in messages, such as `classifier` or `reward model`.
        name: Its folder, or its name on the Hugging Face hub.
        device: Where it computes.
        dtype: In which number format.

    Raises:
        UserError: It cannot be had, lacks weights, or has no tokenizer.
    """
    with opening(kind, name):
        classifier, info = AutoModelForSequenceClassification.from_pretrained(
            name, dtype=dtype, trust_remote_code=False, ignore_mismatched_sizes=True, output_loading_info=True
        )
    absent = sorted([*info["missing_keys"], *(str(key[0]) for key in info["mismatched_keys"])])
    if absent:
        raise UserError(
            f"{kind} {name!r} has no fitting weights for {', '.join(absent[:4])} ({len(absent)} in all): it is no"
            " trained sequence classifier; name one that is."
        )
    return classifier.to(device), open_tokenizer(kind, name)


def longest_input(classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, most: int) -> int:
    """The most tokens of a text, special ones included. RoBERTa counts positions from behind its padding index.

    Args:
        classifier: Of 514 positions in RoBERTa's embeddings 512 hold text.
        tokenizer: Its `model_max_length` counts too.
        most: What is wanted at most.
    """
    embeddings = [module for name, module in classifier.named_modules() if name.endswith("position_embeddings")]
    positions: list[int] = [e.num_embeddings - (0 if e.padding_idx is None else e.padding_idx + 1) for e in embeddings]
    stated = getattr(classifier.config, "max_position_embeddings", None) or most
    return min([most, int(stated), int(tokenizer.model_max_length), *positions])


def open_encoder(name: str, device: torch.device | None = None) -> "SentenceTransformer":
    """Opens a sentence encoder in fp32, whatever its weights are stored in.

    Args:
        name: Its folder, or its name on the Hugging Face hub.
        device: Where it computes; None leaves the choice to sentence-transformers.

    Raises:
        UserError: There is no such model, or it cannot be reached.
    """
    from sentence_transformers import SentenceTransformer  # here, because the import alone takes seconds

    with opening("sentence encoder", name):
        encoder = SentenceTransformer(name, device=str(device) if device else None, model_kwargs={"dtype": "float32"})
    if isinstance(encoder.tokenizer, PreTrainedTokenizerBase):
        check_tokenizer("sentence encoder", name, encoder.tokenizer)
    return encoder


def embed(encoder: "SentenceTransformer", texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
    """The embeddings of N texts as N rows of length 1, so that products of rows are cosines."""
    rows: NDArray[np.float32] = encoder.encode(
        list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=len(texts) >= MANY
    )
    return rows


def truncated(encoder: "SentenceTransformer", texts: Sequence[str]) -> list[bool]:
    """Whether each text is longer than the encoder's limit in tokens, so that its end is not read."""
    limit = encoder.max_seq_length
    if not texts or limit is None or math.isinf(limit):
        return [False] * len(texts)
    tokens = encoder.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    return [len(ids) > limit for ids in tokens]
