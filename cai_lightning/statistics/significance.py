"""Whether a difference is told from 0: the sign-flip test over prompts, and Holm's correction over many of them."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from cai_lightning.statistics.clusters import Array
from cai_lightning.statistics.intervals import LARGEST_DRAW

FLIPS = 9_999
"""Random sign flips; so the least p-value is 1 in 10,000, which a correction over some hundred differences leaves."""

_MOST_PROMPTS_WRITTEN_OUT = 13
_ROUNDING = 1e-12


def sign_flip(sums: Array, seed: int = 0) -> float:
    """The two-sided p-value of paired differences whose true mean is 0.

    If two runs are alike, then which of the two gave which response to a prompt is chance, and every prompt's
    difference could as well have the other sign. So the mean is set against those under random signs. Whole prompts are
    flipped, for their repetitions and samples depend on each other. Nothing is assumed about the distribution, which
    for refusals and rubric scores is far from normal; for zeros and ones this is McNemar's exact test.

    Args:
        sums: The sum of each prompt's differences.
        seed: Seed of the random signs; with 13 prompts or fewer all signs are tried.
    """
    observed = abs(float(sums.sum()))
    least = observed - _ROUNDING * float(np.abs(sums).sum())
    reached = sum(int((np.abs(signs @ sums) >= least).sum()) for signs in _signs(len(sums), seed))
    if len(sums) <= _MOST_PROMPTS_WRITTEN_OUT:
        return float(reached / 2 ** len(sums))
    return (reached + 1) / (FLIPS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number: Holm (1979).

    Where each corrected value up to 5 % is taken for a difference, the chance of one or more wrong ones is 5 % at most,
    whatever depends on what.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _signs(prompts: int, seed: int) -> Iterator[Array]:
    """Rows of -1 and 1: all there are for few prompts, else random ones, in batches."""
    if prompts <= _MOST_PROMPTS_WRITTEN_OUT:
        bits = np.arange(2**prompts)[:, None] >> np.arange(prompts) & 1
        yield 1.0 - 2.0 * bits.astype(np.float64)
    elif prompts * FLIPS <= LARGEST_DRAW:
        yield _kept_signs(prompts, seed)
    else:
        rng, batch = np.random.default_rng(seed), max(1, LARGEST_DRAW // prompts)
        for start in range(0, FLIPS, batch):
            yield _random_signs(rng, min(batch, FLIPS - start), prompts)


@lru_cache(maxsize=4)
def _kept_signs(prompts: int, seed: int) -> Array:
    """Those of one batch; every column of a comparison asks for the same."""
    return _random_signs(np.random.default_rng(seed), FLIPS, prompts)


def _random_signs(rng: np.random.Generator, rows: int, prompts: int) -> Array:
    return 1.0 - 2.0 * rng.integers(2, size=(rows, prompts), dtype=np.int8).astype(np.float64)
