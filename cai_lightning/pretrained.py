"""One clear message for every way in which a pretrained model or its tokenizer fails to open.

    with opening("sentence encoder", name):
        encoder = SentenceTransformer(name)

The libraries raise several kinds of error, some of them a page long, for a misspelt name or an absent network.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError

from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from cai_lightning.errors import UserError


@contextmanager
def opening(kind: str, name: str) -> Iterator[None]:
    """Turns what the libraries raise for a missing or broken model into a `UserError`.

    Seen: OSError without a network, for an unknown name and for a missing folder or weights; ValueError for a folder
    without a readable `config.json`; SafetensorError for weights that are cut short; UnpicklingError for a `.bin` that
    holds more than weights.

    Args:
        kind: What is opened, such as `sentence encoder`.
        name: Its folder, or its name on the Hugging Face hub.
    """
    try:
        yield
    except (OSError, ValueError, SafetensorError, UnpicklingError) as error:
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
