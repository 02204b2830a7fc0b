"""The test that a reward model passes before it scores: plainly good answers have to outscore plainly bad ones.

    check_sense(reward, pairs, "berkeley-nest/Starling-RM-7B-alpha", budget=4096)

A model that was loaded wrongly gives numbers like any other. Half of the good answers of the default pairs are shorter
than the bad ones, so that mere length does not pass.
"""

from dataclasses import dataclass
from pathlib import Path

from cai_lightning.errors import UserError
from cai_lightning.json_file import load_json, objects_at, text_at
from cai_lightning.metrics.rewards.base import Reward, score_all
from cai_lightning.records import assistant, user

DEFAULT = Path(__file__).with_name("self_test.json")

MISTAKES = 1 / 10
"""The share of pairs that a sound model may get wrong; of twelve a model of random weights gets 11 right by a chance of
one in three hundred."""


@dataclass(frozen=True)
class Pair:
    """A prompt with a plainly good and a plainly bad answer."""

    prompt: str
    good: str
    bad: str


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file: a list of objects with `prompt`, `good` and `bad`.

    Raises:
        UserError: The file is not of that form, or holds no pair.
    """
    found = objects_at(path, "pairs", load_json(path, "self-test"))
    if not found:
        raise UserError(f"{path}: a self-test needs at least one pair.")
    keys = ("prompt", "good", "bad")
    return [Pair(*(text_at(path, f"{at}.{key}", row.get(key)) for key in keys)) for at, row in found]


def check_sense(reward: Reward, pairs: list[Pair], name: str, budget: int) -> None:
    """Refuses a reward model that prefers too many of the bad answers.

    Args:
        reward: The reward model.
        pairs: What it is asked.
        name: Of the model, for messages.
        budget: Tokens of a batch.

    Raises:
        UserError: It fails; the message says how often, and names the worst pair.
    """
    answers = [(pair.prompt, answer) for pair in pairs for answer in (pair.good, pair.bad)]
    encoded = [reward.encode([user(prompt), assistant(answer)]) for prompt, answer in answers]
    scores = score_all(reward, encoded, budget)
    leads = (scores[::2] - scores[1::2]).nan_to_num(nan=float("-inf"))
    wrong = int((leads <= 0).sum())
    if wrong > MISTAKES * len(pairs):
        worst = int(leads.argmin())
        good, bad = (f"{score:.3g}" for score in scores[2 * worst : 2 * worst + 2].tolist())
        raise UserError(
            f"reward model {name!r} fails its self-test: it prefers the bad answer in {wrong} of {len(pairs)} pairs,"
            f" such as to {pairs[worst].prompt!r} ({bad}, and {good} for the good one)."
            " Its scores would mean nothing; check model, base and layout."
        )
