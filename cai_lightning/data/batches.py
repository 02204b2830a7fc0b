"""From conversations to batches: worded and cut, planned into optimizer steps, packed or padded.

    example = encode(tokenizer, Sample(id, [user("Hi")], "Hello."), max_length=512)  # tokens, and which are learned
    shares = plan(examples, Sizes(batch_size=8, max_tokens=4096), seed, epoch)  # for each process its batches
    batch = pack([examples[row] for row in shares[0][0].rows], shares[0][0].step_tokens)

The loss is a mean over the supervised tokens of a whole step, in however many batches and processes it is computed. So
steps are planned, and each batch carries the number of all supervised tokens of its step.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NotRequired, Protocol, TypedDict, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cai_lightning.data.prompts import Sample
from cai_lightning.models.template import frame, render, tokens
from cai_lightning.run.errors import UserError

T = TypeVar("T")
B = TypeVar("B")

IGNORED = -100
"""The label of a token that is not learned."""

GRAIN = 128
"""On a GPU a packed row is as wide as a multiple of this, so that its kernels and its allocator meet few widths."""


@dataclass(frozen=True)
class Example:
    """One conversation as tokens; `labels` are the tokens of the response and its end of turn, elsewhere `IGNORED`.

    Args:
        id: Of its row.
        input_ids: Its tokens.
        labels: What is learned.
        truncated: Whether it was too long.
        prefix: Of a further response to a prompt, which begins with the prompt's last token, how many tokens stand
            before that: it takes them from the nearest conversation before it whose prefix is 0, see `shared`.
    """

    id: str
    input_ids: list[int]
    labels: list[int]
    truncated: bool
    prefix: int = 0

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.input_ids)

    @property
    def supervised(self) -> int:
        """How many tokens are learned."""
        return sum(label != IGNORED for label in self.labels)


def encode(tokenizer: PreTrainedTokenizerBase, sample: Sample, max_length: int) -> Example:
    """Words a conversation with the chat template; its response and end of turn are what is learned.

    The tokens before the response are those that an engine asks the model with. White space around it is not learned.
    Where both do not fit, the beginning of the prompt is cut, down to half of `max_length`; a response that does not
    fit behind it loses its end, and the model is not taught to end its turn there.

    Args:
        tokenizer: Its chat template words the turns.
        sample: The conversation; the words of a response that is not finished are learned, and no end of turn stands
            behind them.
        max_length: Tokens kept.

    Raises:
        UserError: Nothing of the response is left to learn, or the chat template is not fit for training.
    """
    (example,), _ = encode_replies(tokenizer, [sample], max_length)
    return example


def encode_replies(
    tokenizer: PreTrainedTokenizerBase, samples: Sequence[Sample], max_length: int
) -> tuple[list[Example], int]:
    """Several conversations with one opening, see `encode`; the prompt is cut once for all, for the longest response.

    Returns:
        The whole conversations, and how many tokens the prompt of each has, see `shared`.
    """
    around, first = frame(tokenizer), samples[0]
    if around.length >= max_length:
        raise UserError(
            f"row {first.id}: none of its response is left to learn: the chat template alone takes {around.length} of "
            f"{max_length} tokens. Raise data.max_length."
        )
    asked = render(tokenizer, first.opening, prompt=True)
    start = tokens(tokenizer, asked)
    replies = [_reply(tokenizer, sample, asked, start) for sample in samples]
    longest = max(map(len, replies))
    prompt = _cut(start, max(max_length - longest, max_length // 2), tokenizer.bos_token_id)
    room, is_cut = max_length - len(prompt), len(prompt) < len(start)
    return [
        Example(
            sample.id,
            prompt + reply[:room],
            [IGNORED] * len(prompt) + reply[:room],
            truncated=is_cut or len(reply) > room,
        )
        for sample, reply in zip(samples, replies, strict=True)
    ], len(prompt)


def _reply(tokenizer: PreTrainedTokenizerBase, sample: Sample, asked: str, start: list[int]) -> list[int]:
    """The tokens of a response and what ends its turn, as they follow those of the prompt."""
    around, response = frame(tokenizer), sample.response.strip()
    end = around.end if sample.finished else ""
    if any(token in response for token in around.control):
        spelt = tokenizer(response, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*tokens(tokenizer, around.before), *spelt, *tokens(tokenizer, end)]
    text = around.before + response + end
    whole = tokens(tokenizer, asked + text)
    if whole[: len(start)] == start:
        return whole[len(start) :]
    # The prompt's last token melts into the response's first, which it cannot where a model is asked.
    return tokens(tokenizer, around.end_of_turn + text)[1:]


def _cut(start: list[int], room: int, bos: int | None) -> list[int]:
    """The last tokens of a prompt, behind its beginning-of-text token where it has one."""
    if len(start) <= room:
        return start
    first = start[:1] if start[0] == bos and room else []
    return first + start[len(start) - room + len(first) :]


@dataclass(frozen=True)
class Planned:
    """A batch: its rows, none where a process idles in the last step, and the supervised tokens of its step, or its
    pairs."""

    rows: tuple[int, ...]
    step_tokens: int


@dataclass(frozen=True)
class Sizes:
    """How large batches and steps are.

    Args:
        batch_size: Most conversations in a batch.
        max_tokens: Most tokens in a batch; a longer conversation has one to itself. Null sets no bound.
        batches_per_step: Batches that each process does before the optimizer steps.
        world_size: Number of processes.
    """

    batch_size: int
    max_tokens: int | None = None
    batches_per_step: int = 1
    world_size: int = 1


class Plannable(Protocol):
    """What is learned from: a conversation, or a pair of them."""

    @property
    def size(self) -> int:
        """How many tokens it takes in a batch."""

    @property
    def supervised(self) -> int:
        """For how much it counts in the mean over a step."""


def plan(examples: Sequence[Plannable], sizes: Sizes, seed: int, epoch: int) -> list[list[Planned]]:
    """The steps of an epoch: for each process what it does in each step, one batch after the other.

    The order of the rows is drawn anew each epoch. With a bound on tokens the number of batches would then change, so
    there the batches are drawn once, and their order each epoch. Each row comes once an epoch.

    Returns:
        A list for each process, all of one length.
    """
    draw = random.Random(f"{seed}:{epoch if sizes.max_tokens is None else 'batches'}")
    order = draw.sample(range(len(examples)), len(examples))
    batches = fill(order, [example.size for example in examples], sizes)
    if sizes.max_tokens is not None:
        random.Random(f"{seed}:{epoch}").shuffle(batches)
    planned: list[Planned] = []
    together = sizes.batches_per_step * sizes.world_size
    for start in range(0, len(batches), together):
        step = batches[start : start + together]
        tokens = sum(examples[row].supervised for batch in step for row in batch)
        step += [()] * (-len(step) % sizes.world_size)
        planned += [Planned(batch, tokens) for batch in step]
    return [planned[rank :: sizes.world_size] for rank in range(sizes.world_size)]


def fill(order: Sequence[int], lengths: Sequence[int], sizes: Sizes) -> list[tuple[int, ...]]:
    """Puts rows into batches in their order; a batch is closed when the next row does not fit."""
    most = math.inf if sizes.max_tokens is None else sizes.max_tokens

    def fits(rows: list[int]) -> bool:
        return len(rows) <= sizes.batch_size and sum(lengths[row] for row in rows) <= most

    return [tuple(batch) for batch in in_batches(order, fits)]


def in_batches(items: Iterable[T], fits: Callable[[list[T]], bool]) -> list[list[T]]:
    """Puts items into batches in their order; one that does not fit alone has a batch to itself.

    >>> in_batches([3, 1, 2, 7], lambda batch: sum(batch) <= 5)
    [[3, 1], [2], [7]]
    """
    batches: list[list[T]] = []
    for item in items:
        if not batches:
            batches.append([])
        batches[-1].append(item)
        if len(batches[-1]) > 1 and not fits(batches[-1]):
            batches.append([batches[-1].pop()])
    return batches


class Batch(TypedDict):
    """N conversations: packed, as B = 1 row of all their tokens with `lengths`, and how many tokens each takes from the
    beginning of another (`prefixes`); or padded on the right, as B = N rows with an `attention_mask`. `input_ids`,
    `labels` and the mask are [B, L].

    `tokens` counts them without padding; `step_tokens` is how many supervised tokens, or pairs, the whole optimizer
    step has, over all its batches and processes.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    lengths: NotRequired[list[int]]
    prefixes: NotRequired[list[int]]
    attention_mask: NotRequired[Tensor]
    tokens: int
    step_tokens: int


class Batches(Generic[T, B]):
    """The batches of one process, epoch after epoch.

    Args:
        planned: Tells the batches of the present epoch.
        make: Makes a batch of its plan.
        done: How many batches of the first epoch were done before, in a training that is resumed.

    Attributes:
        before: The same, until the first epoch begins.
        done: How far the present epoch has come.
    """

    def __init__(self, planned: Callable[[], list[T]], make: Callable[[T], B], done: int = 0) -> None:
        self._planned = planned
        self._make = make
        self.before = done
        self.done = done

    def __len__(self) -> int:
        return len(self._planned())

    def __iter__(self) -> Iterator[B]:
        batches = self._planned()
        self.done, self.before = self.before % len(batches), 0
        for planned in batches[self.done :]:
            self.done += 1
            yield self._make(planned)


class TrainingData(LightningDataModule):
    """Goes on in the midst of an epoch where a training is resumed.

    Lightning's own saving of loaders misses those that are asked for early; and where layers are shared out, it reads
    the checkpoint when the loader is there already.
    """

    _train: Batches[Any, Any] | None = None
    _done = 0

    def resumable(self, batches: Batches[T, B]) -> Batches[T, B]:
        """The batches of an epoch, from where the checkpoint says that it was."""
        batches.before, self._train = self._done, batches
        return batches

    def state_dict(self) -> dict[str, int]:
        """How far the epoch has come."""
        return {"done": self._train.done if self._train else 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._done = state_dict["done"]
        if self._train:
            self._train.before = self._done


def pack(examples: Sequence[Example], step_tokens: int, grain: int = 1) -> Batch:
    """Puts conversations one behind the other; positions begin anew with each, or go on from what it shares.

    Args:
        examples: The conversations.
        step_tokens: Supervised tokens of the whole step.
        grain: The row is filled up to a multiple of so many tokens, by a conversation of which nothing is learned.
    """
    tokens = sum(len(example.input_ids) for example in examples)
    filling = -tokens % grain
    rows = [*examples, Example("filling", [0] * filling, [IGNORED] * filling, truncated=False)] if filling else examples
    lengths = [len(row.input_ids) for row in rows]
    return Batch(
        input_ids=torch.tensor([[id for row in rows for id in row.input_ids]]),
        labels=torch.tensor([[label for row in rows for label in _labels(row)]]),
        position_ids=torch.cat([torch.arange(row.prefix, row.prefix + len(row.input_ids)) for row in rows])[None],
        lengths=lengths,
        prefixes=[row.prefix for row in rows],
        tokens=tokens,
        step_tokens=step_tokens,
    )


def shared(examples: Sequence[Example], prompt: int) -> list[Example]:
    """Several responses to one prompt, which only the first of them keeps.

    Args:
        examples: Whole conversations with the same first tokens.
        prompt: How many these are, at least one.
    """
    first, *further = examples
    return [first, *(_behind(one, prompt - 1) for one in further)]


def _behind(example: Example, prefix: int) -> Example:
    return replace(example, input_ids=example.input_ids[prefix:], labels=example.labels[prefix:], prefix=prefix)


def apart(examples: Sequence[Example]) -> list[Example]:
    """The same conversations, each with its whole prompt."""
    whole: list[Example] = []
    trunk: list[int] = []
    for one in examples:
        trunk = trunk if one.prefix else one.input_ids
        ids, labels = trunk[: one.prefix] + one.input_ids, [IGNORED] * one.prefix + one.labels
        whole.append(replace(one, input_ids=ids, labels=labels, prefix=0) if one.prefix else one)
    return whole


def pad(examples: Sequence[Example], step_tokens: int, filling: int) -> Batch:
    """Pads conversations to the longest of them; what they share is repeated in each."""
    examples = apart(examples)
    lengths = [len(example.input_ids) for example in examples]
    width = max(lengths)
    return Batch(
        input_ids=_padded([example.input_ids for example in examples], width, filling),
        labels=_padded([_labels(example) for example in examples], width, IGNORED),
        position_ids=torch.arange(width).expand(len(examples), -1),
        attention_mask=_padded([[1] * length for length in lengths], width, 0),
        tokens=sum(lengths),
        step_tokens=step_tokens,
    )


def _labels(example: Example) -> list[int]:
    """The labels of a conversation; its first token has none, for it would be predicted from the one before."""
    return [IGNORED, *example.labels[1:]]


def _padded(rows: list[list[int]], width: int, fill: int) -> Tensor:
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])
