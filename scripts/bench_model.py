"""The model that a benchmark runs on: one that exists, in the number format the machine computes in, or one at random.

add_arguments(parser)
with_dtype(args)
args.model = prepare(args, text, folder)   # a folder that this project and its peers can open
"""

import argparse
from pathlib import Path

import torch
from random_model import SHAPES, Shape, make_model
from transformers import AutoConfig

from cai_lightning.models.hub import dtype_on, load_model, load_tokenizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--shape` or `--model`, and `--dtype`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--shape", choices=SHAPES, default="50m", help="sizes of a model of random weights")
    which.add_argument("--model", type=Path, help="folder of a model, or its .gguf, instead of one at random")
    types = ["auto", "float32", "bfloat16"]
    parser.add_argument("--dtype", choices=types, default="auto", help="auto is what the machine computes in")


def with_dtype(args: argparse.Namespace) -> None:
    """Puts what `auto` means on this machine in its place."""
    if args.dtype == "auto":
        args.dtype = "float32" if dtype_on(device(), "auto") == "float32" else "bfloat16"


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare(args: argparse.Namespace, text: Path, folder: Path, ends: bool = False) -> Path:
    """The folder of the model; what is made or unpacked is written into `folder`.

    Args:
        args: What `add_arguments` reads.
        text: What the tokenizer of a random model is learned from.
        folder: For what has to be written.
        ends: Whether a random model's replies end, at varied lengths, or never.
    """
    if args.model is None:
        make_model(SHAPES[args.shape], text, folder / "model", ends)
    elif args.model.suffix == ".gguf":  # the peers open folders alone
        load_model(str(args.model), args.dtype).save_pretrained(folder / "model")
        load_tokenizer(str(args.model)).save_pretrained(folder / "model")
    else:
        return Path(args.model)
    return folder / "model"


def shape_of(model: Path) -> Shape:
    """The sizes of a model of the usual architecture."""
    config = AutoConfig.from_pretrained(model)
    return Shape(**{name: getattr(config, name) for name in Shape.__dataclass_fields__})
