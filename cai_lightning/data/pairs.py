"""Two responses to one prompt, and how likely the first is better: as texts, as tokens, and in batches of whole pairs.

    pair = as_replies(tokenizer, comparison, max_length=512)         # of which the responses are learned
    pair = as_conversations(tokenizer, comparison, max_length, pad)  # which are read as reward models read them
    batch = pack_pairs([pair], step_pairs=8, references=torch.tensor([[-31.2, -35.9]]), filler=pair)

Both responses lie behind one copy of their prompt, see `batches.shared`; where batches are padded, it is repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cai_lightning.data.batches import IGNORED, Batch, Example, apart, encode_replies, pack, pad, shared
from cai_lightning.data.prompts import Sample
from cai_lightning.models.template import render, tokens
from cai_lightning.principles import wording
from cai_lightning.run.records import Conversation


@dataclass(frozen=True)
class Comparison:
    """Two cleaned responses to one conversation.

    Args:
        id: Of its row.
        opening: What stands before the responses.
        responses: The two.
        label: The probability that the first is better.
        finished: Whether the end of each is its end.
        is_human: Whether people have compared them.
    """

    id: str
    opening: Conversation
    responses: tuple[str, str]
    label: float
    finished: tuple[bool, bool] = (True, True)
    is_human: bool = False


@dataclass(frozen=True)
class EncodedPair:
    """A comparison as tokens.

    Args:
        first: The prompt with the first response.
        second: The second response behind what it shares with the first.
        label: The probability that the first is better.
        places: Where a reward model reads its score in each, counted from the beginning of `first` and of `second`.
    """

    first: Example
    second: Example
    label: float
    places: tuple[int, int]

    @property
    def examples(self) -> tuple[Example, Example]:
        return self.first, self.second

    @property
    def size(self) -> int:
        """How many tokens it takes in a packed batch."""
        return self.first.size + self.second.size

    @property
    def supervised(self) -> int:
        """A pair counts for one, however long it is."""
        return 1


def as_replies(tokenizer: PreTrainedTokenizerBase, comparison: Comparison, max_length: int) -> EncodedPair:
    """A pair whose responses are learned as `batches.encode` words them.

    Args:
        tokenizer: Its chat template words the turns.
        comparison: The pair.
        max_length: Tokens kept of the prompt with either response; a prompt that is too long loses its beginning.

    Raises:
        UserError: See `batches.encode`.
    """
    samples = [
        Sample(comparison.id, comparison.opening, response, finished)
        for response, finished in zip(comparison.responses, comparison.finished, strict=True)
    ]
    whole, prompt = encode_replies(tokenizer, samples, max_length)
    first, second = shared(whole, prompt)
    return EncodedPair(first, second, comparison.label, (first.size - 1, second.size - 1))


def as_conversations(
    tokenizer: PreTrainedTokenizerBase, comparison: Comparison, max_length: int, pad: int | None
) -> EncodedPair:
    """A pair of whole conversations, as reward models with a chat template read them; nothing of them is learned.

    Args:
        tokenizer: Its chat template words the turns.
        comparison: The pair.
        max_length: Tokens kept; what the longer one has too many is cut at the beginning of both. Where that is more
            than they have in common, each is cut for itself, as a reward model cuts it.
        pad: The padding token that the reward model's configuration names, see `score_place`.
    """
    talks = [wording.answered(comparison.opening, said) for said in comparison.responses]
    ids = [tokens(tokenizer, render(tokenizer, talk, prompt=False)) for talk in talks]
    cut = max(0, *(len(one) - max_length for one in ids))
    first, second = (one[cut:] if cut <= _common(*ids) else one[-max_length:] for one in ids)
    places = score_place(first, pad), score_place(second, pad)
    begin = min(_common(first, second), places[1])  # a score is read at a token of its own
    whole = [Example(comparison.id, one, [IGNORED] * len(one), cut > 0) for one in (first, second)]
    trunk, further = shared(whole, begin + 1)
    return EncodedPair(trunk, further, comparison.label, (places[0], places[1] - begin))


def score_place(ids: Sequence[int], pad: int | None) -> int:
    """The token of a conversation at which a reward model reads its score: its last, or the last but padding.

    So transformers' sequence classifiers find it. Where a conversation ends in the token that pads others, as where
    that is the end of text, it is read before.

    Args:
        ids: The tokens.
        pad: The padding token; None where there is none.
    """
    return next((place for place in reversed(range(len(ids))) if ids[place] != pad), 0)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two conversations begin with alike."""
    differing = (place for place, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    return next(differing, min(len(first), len(second)))


class PairBatch(Batch):
    """A batch of P pairs, two conversations each, of 2P responses.

    `preferences` [P] are the probabilities that the first is better, `places` [2P] those of the tokens at which scores
    are read in the flattened batch, `supervised` [2P] how many tokens of each response are learned; `references` [P, 2]
    are the responses' log-probabilities under the reference, NaN where they are not known.
    """

    preferences: Tensor
    places: Tensor
    supervised: Tensor
    references: Tensor


def pack_pairs(
    pairs: Sequence[EncodedPair], step_pairs: int, references: Tensor, filler: EncodedPair, grain: int = 1
) -> PairBatch:
    """Pairs one behind the other, see `batches.pack`.

    Args:
        pairs: The pairs; with none of them the batch holds the filler, of which nothing is learned.
        step_pairs: Pairs of the whole step.
        references: Log-probabilities of their responses under the reference [P, 2].
        filler: Any pair.
        grain: See `batches.pack`.
    """
    examples = [one for pair in pairs or [filler] for one in pair.examples]
    starts = torch.tensor([0, *(one.size for one in examples)]).cumsum(0)[: 2 * len(pairs)]
    return _of_pairs(pack(_learned(examples, bool(pairs)), step_pairs, grain), pairs, starts, references)


def pad_pairs(
    pairs: Sequence[EncodedPair], step_pairs: int, references: Tensor, filler: EncodedPair, filling: int
) -> PairBatch:
    """Pairs with their prompt in front of both responses, see `batches.pad`; the arguments are those of `pack_pairs`,
    and the token that fills up."""
    examples = apart([one for pair in pairs or [filler] for one in pair.examples])
    batch = pad(_learned(examples, bool(pairs)), step_pairs, filling)
    prefixes = torch.tensor([one.prefix for pair in pairs for one in pair.examples], dtype=torch.long)
    starts = torch.arange(2 * len(pairs)) * batch["input_ids"].shape[1] + prefixes
    return _of_pairs(batch, pairs, starts, references)


def _learned(examples: list[Example], learned: bool) -> list[Example]:
    """The conversations, or as many tokens of which nothing is learned."""
    return examples if learned else [replace(one, labels=[IGNORED] * one.size) for one in examples]


def _of_pairs(batch: Batch, pairs: Sequence[EncodedPair], starts: Tensor, references: Tensor) -> PairBatch:
    """A batch with what is known of its pairs; `starts` are the places of the first tokens of their 2P responses."""
    responses = [one for pair in pairs for one in pair.examples]
    known = {
        "preferences": torch.tensor([pair.label for pair in pairs]),
        "places": starts + torch.tensor([place for pair in pairs for place in pair.places], dtype=torch.long),
        "supervised": torch.tensor([one.supervised for one in responses], dtype=torch.long),
        "references": references,
    }
    return cast(PairBatch, {**batch, **known})


def of_pairs(batch: Batch) -> PairBatch:
    """The batch as one of pairs, which those of `PreferenceData` are."""
    return cast(PairBatch, batch)
