"""Whatever joins, leaves or runs out of memory when: everybody is told what a model says that reads him alone."""

import asyncio
import random
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from cai_lightning.engines import batching
from cai_lightning.engines.base import Sampling, draw
from cai_lightning.engines.batching import ContinuousBatch
from cai_lightning.engines.slots import GRAIN, Graphs, Slots, cache_per_token
from cai_lightning.run.errors import ReplyError

VOCABULARY = 40
SAMPLING = Sampling(temperature=1.0)
ERRORS = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    lambda: RuntimeError("CUDA error: out of memory"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes."),
    MemoryError,
]


@dataclass
class Talk:
    """What is asked, turn by turn, and how many steps of the loop pass before each turn."""

    seed: str
    turns: list[list[int]]
    waits: list[int]
    most: int


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=VOCABULARY, num_key_value_heads=1, initializer_range=0.6, **shape)
    return Qwen2ForCausalLM(config).eval()


def tokens(rng, many):
    return [rng.randrange(2, VOCABULARY) for _ in range(many)]


def talks(rng, many):
    """Conversations some of which begin alike, by a few tokens or by many."""
    beginnings = [tokens(rng, rng.choice([3, 12, 40])) for _ in range(2)]
    for n in range(many):
        beginning = rng.choice(beginnings)
        opening = [*beginning[: rng.randrange(len(beginning) + 1)], *tokens(rng, rng.randrange(1, 9))]
        turns = [opening, *(tokens(rng, rng.randrange(1, 9)) for _ in range(rng.randrange(3)))]
        yield Talk(str(n), turns, [rng.choice([0, 0, 1, 7]) for _ in turns], rng.randrange(1, 5))


async def held(batch, talk):
    """The replies to a conversation's turns; each turn goes on from what was written."""
    ids, replies = [], []
    for turn, wait in zip(talk.turns, talk.waits, strict=True):
        for _ in range(wait):
            await asyncio.sleep(0)
        ids = [*ids, *turn]
        replies.append((await batch.write(ids, talk.seed, talk.most)).tokens)
        ids = [*ids, *replies[-1]]
    return replies


async def weighed(batch, talk, options):
    """How likely each of several answers is to each turn of a conversation that goes on with the first."""
    ids, choices = [], []
    for turn, wait in zip(talk.turns, talk.waits, strict=True):
        for _ in range(wait):
            await asyncio.sleep(0)
        ids = [*ids, *turn]
        choices.append(await batch.choose(ids, options))
        ids = [*ids, *options[0]]
    return choices


def together(batch, talks, choices=()):
    async def every():
        work = [held(batch, talk) for talk in talks] + [weighed(batch, *choice) for choice in choices]
        return await asyncio.gather(*work, return_exceptions=True)

    return asyncio.run(asyncio.wait_for(every(), 60))


@torch.inference_mode()
def alone(policy, talk, told):
    """What a model says that reads all of the conversation so far, without a batch or a cache, before each token."""
    ids, starts = [], []
    for turn, reply in zip(talk.turns, told, strict=True):
        starts.append(len(ids) + len(turn))
        ids += [*turn, *reply]
    logits, replies = policy(torch.tensor([ids])).logits[0], []
    for start, reply in zip(starts, told, strict=True):
        numbers, replies = [random.Random(talk.seed)], [*replies, []]
        for place in range(start - 1, start - 1 + len(reply)):
            replies[-1] += draw(logits[None, place], SAMPLING, numbers, [ids[: place + 1]])
        assert len(reply) == talk.most or (reply[-1] == 0 and len(reply) < talk.most)
    return replies


@torch.inference_mode()
def whole(policy, talk, options):
    """How likely the answers are to each turn, by reading all of the conversation and of each answer."""
    ids = []
    for turn in talk.turns:
        ids = [*ids, *turn]
        logits = [policy(torch.tensor([[*ids, *option]])).logits[0, len(ids) - 1 : -1].double() for option in options]
        pairs = zip(logits, options, strict=True)
        totals = [scores.log_softmax(-1).gather(1, torch.tensor(option)[:, None]).sum() for scores, option in pairs]
        yield torch.stack(totals).exp()
        ids = [*ids, *options[0]]


def answers(rng):
    """Some that begin alike, by no token or by many; none begins another."""
    stem = tokens(rng, 4)
    some = [[*stem[: rng.randrange(5)], *tokens(rng, rng.randrange(1, 3))] for _ in range(rng.randrange(1, 5))]
    return [one for n, one in enumerate(some) if not any(begin(one, other) for other in some[:n])]


def begin(one, other):
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


class Repeated(Graphs):
    """Launches a step again, as it was recorded."""

    def record(self, step):
        return step


@pytest.fixture(params=["cpu", "gpu"])
def place(request, monkeypatch):
    """Slots as they are on a CPU, and with the shapes and the repeated steps of a GPU."""
    if request.param == "gpu":
        plain = Slots.__init__

        def opened(self, policy, count):
            plain(self, policy, count)
            self._grain, self.graphs = GRAIN, Repeated()

        monkeypatch.setattr(Slots, "__init__", opened)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("block", range(10))
def test_conversations_that_begin_alike_say_what_each_would_alone(policy, block):
    for case in range(20):
        rng = random.Random(f"{block} {case}")
        some = list(talks(rng, rng.randrange(2, 7)))
        batch = ContinuousBatch(policy, rng.randrange(1, 7), SAMPLING, ends={0})
        for talk, replies in zip(some, together(batch, some), strict=True):
            assert replies == alone(policy, talk, replies), f"case {case}"


@contextmanager
def scarce(policy, fails):
    """Memory runs out in the passes of layers and head of which `fails(number, shape of the input)` says so."""
    passes = count(1)

    def check(module, arguments):
        if error := fails(next(passes), arguments[0].shape):
            raise error()

    hooks = [module.register_forward_pre_hook(check) for module in (*policy.model.layers, policy.lm_head)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without looking for garbage in all that the tests have left."""
    monkeypatch.setattr(batching.gc, "collect", lambda: None)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("block", range(10))
def test_out_of_memory_in_any_pass_loses_nobody_and_changes_no_token(policy, block):
    for case in range(20):
        rng = random.Random(f"{block} {case}")
        some = list(talks(rng, rng.randrange(2, 7)))
        failing = {rng.randrange(60): rng.choice(ERRORS) for _ in range(3)}
        with scarce(policy, lambda n, shape, failing=failing: failing.get(n)):
            told = together(ContinuousBatch(policy, 8, SAMPLING, ends={0}), some)
        for talk, replies in zip(some, told, strict=True):
            assert replies == alone(policy, talk, replies), f"case {case}"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("block", range(3))
def test_answers_are_weighed_amid_replies_and_when_memory_runs_out_as_they_are_alone(policy, block):
    for case in range(20):
        rng = random.Random(f"{block} {case}")
        some = list(talks(rng, rng.randrange(1, 4)))
        choices = [(talk, answers(rng)) for talk in talks(rng, rng.randrange(1, 5))]
        failing = {rng.randrange(60): rng.choice(ERRORS) for _ in range(rng.randrange(3))}
        with scarce(policy, lambda n, shape, failing=failing: failing.get(n)):
            slots = 8 if failing else rng.randrange(1, 9)
            told = together(ContinuousBatch(policy, slots, SAMPLING, ends={0}), some, choices)
        for talk, replies in zip(some, told, strict=False):
            assert replies == alone(policy, talk, replies), f"case {case}"
        for choice, found in zip(choices, told[len(some) :], strict=True):
            for one, likely in zip(found, whole(policy, *choice), strict=True):
                assert one.mass == pytest.approx(float(likely.sum()), abs=1e-5), f"case {case}"
                assert one.shares == pytest.approx((likely / likely.sum()).tolist(), abs=1e-5), f"case {case}"


@pytest.mark.parametrize("block", range(3))
def test_one_too_long_for_the_memory_fails_and_the_others_go_on(policy, block):
    """Memory does not suffice to read so many tokens."""
    for case in range(20):
        rng = random.Random(f"{block} {case}")
        some = list(talks(rng, rng.randrange(2, 7)))
        long = Talk("long", [tokens(rng, 120)], [rng.randrange(9)], 3)
        some.insert(rng.randrange(len(some)), long)
        error = rng.choice(ERRORS)
        with scarce(policy, lambda n, shape, error=error: error if shape[1] > 100 else None):
            told = together(ContinuousBatch(policy, rng.randrange(1, 9), SAMPLING, ends={0}), some)
        for talk, replies in zip(some, told, strict=True):
            if talk is long:
                assert isinstance(replies, ReplyError), f"case {case}"
                assert "a conversation of 120 tokens takes more memory than there is" in str(replies)
            else:
                assert replies == alone(policy, talk, replies), f"case {case}"


@pytest.mark.parametrize("block", range(3))
def test_slots_are_as_many_as_memory_holds(policy, monkeypatch, block):
    """There is memory for so many slots of one grain; conversations grow beyond it, and none but the last is lost."""
    for case in range(20):
        rng = random.Random(f"{block} {case}")
        some = [*talks(rng, rng.randrange(2, 7)), Talk("long", [tokens(rng, 150)], [rng.randrange(9)], 3)]
        slots = rng.randrange(1, 7)
        memory = slots * GRAIN * cache_per_token(policy.config, policy.dtype) * 10 // 9 + 10
        monkeypatch.setattr(Slots, "_memory", lambda self, memory=memory: memory)
        *told, last = together(ContinuousBatch(policy, rng.randrange(1, 7), SAMPLING, ends={0}), some)
        for talk, replies in zip(some, told, strict=False):
            assert replies == alone(policy, talk, replies), f"case {case}"
        if slots == 1:
            assert isinstance(last, ReplyError), f"case {case}"
        else:
            assert last == alone(policy, some[-1], last), f"case {case}"
