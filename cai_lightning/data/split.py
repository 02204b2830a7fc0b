"""The three parts of every experiment: which prompts are tested, which validate fine-tuning, which train.

    part("How do I pick a lock?")  # "train"

The side of a prompt follows from its text alone, so it is the same in every experiment, nothing moves when rows are
added, and duplicates stay together.
"""

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Literal

from cai_lightning.run.records import Prompt, transcript_text

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Shares:
    """How much of the prompts is set aside.

    Args:
        test: Share seen by validate alone, from 0 to 1.
        validation: Share for fit's loss and early stopping, from 0 to 1; what is left of the two trains.
    """

    test: float = 0.15
    validation: float = 0.05

    def __post_init__(self) -> None:
        for name, value in (("test", self.test), ("validation", self.validation)):
            if not 0 <= value <= 1:
                raise ValueError(f"shares.{name} must lie between 0 and 1, not be {value}.")
        if self.test + self.validation > 1:
            raise ValueError(f"shares.test + shares.validation must not exceed 1: {self.test} + {self.validation}.")


def part(text: str, shares: Shares = Shares()) -> Part:
    """The part to which a text belongs.

    Args:
        text: A prompt, or `transcript_text` of a transcript.
        shares: How much is set aside.
    """
    place = share(text)
    if place < shares.test:
        return "test"
    return "validation" if place < shares.test + shares.validation else "train"


def share(text: str) -> float:
    """The place of a text between 0 and 1: the first 8 bytes of the SHA-256 of its normalised form, over 2^64."""
    digest = hashlib.sha256(normalised(text).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def prompt_text(prompt: Prompt) -> str:
    """The text that stands for a prompt in its id and its part; of a transcript all its turns."""
    return transcript_text(prompt.turns) if prompt.turns else prompt.prompt


def normalised(text: str) -> str:
    """What two prompts have in common that are one: NFC, a blank for any white space, no difference of case."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()
