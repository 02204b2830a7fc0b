"""Conversations join and leave the batch one by one, and nothing is read twice."""

import asyncio
import logging

import pytest
import torch

from cai_lightning.engines.base import Sampling
from cai_lightning.engines.batching import ContinuousBatch
from cai_lightning.engines.slots import Slots
from cai_lightning.models.hub import load_model

PROMPTS = [[5, 6, 7], [9] * 30, [11, 12], [20, 21, 22, 23], [40]]


@pytest.fixture(scope="module")
def policy(tiny_model):
    return load_model(str(tiny_model), "float32").eval()


@pytest.fixture
def read(monkeypatch):
    """How many tokens every forward pass was given, by slot."""
    passes = []
    extend = Slots.extend

    def counted(self, slots, ids):
        passes.append({slot: len(row) for slot, row in zip(slots, ids, strict=True) if row})
        return extend(self, slots, ids)

    monkeypatch.setattr(Slots, "extend", counted)
    return passes


def batch(policy, slots=8, **settings):
    return ContinuousBatch(policy, slots, Sampling(temperature=0), ends={0}, **settings)


def write(one, prompts=PROMPTS):
    async def every():
        return await asyncio.gather(*(one.write(ids, str(n), 10) for n, ids in enumerate(prompts)))

    return asyncio.run(asyncio.wait_for(every(), 60))


def test_no_more_than_the_slots_are_written_at_once(policy, read):
    whole = write(batch(policy))
    read.clear()
    assert write(batch(policy, slots=2)) == whole
    assert max(len(passed) for passed in read) == 2


def test_who_is_finished_makes_room_while_the_others_go_on(policy):
    one = batch(policy, slots=2)
    order = []

    async def ask(ids):
        await one.write(ids, "s", 9 if ids == PROMPTS[1] else 3)
        order.append(ids)

    async def every():
        await asyncio.gather(*map(ask, PROMPTS))

    asyncio.run(asyncio.wait_for(every(), 60))
    assert order.index(PROMPTS[1]) >= 2, "shorter ones came and went beside the longest"


def test_the_next_turn_reads_only_what_is_new(policy, read):
    one = batch(policy)

    async def talk():
        first = await one.write(PROMPTS[1], "1", 10)
        read.clear()
        await one.write([*PROMPTS[1], *first.tokens, 50, 51, 52], "2", 10)
        return read[0]

    assert asyncio.run(talk()) == {0: 4}, "the last token written and the three new ones"


def test_a_beginning_that_many_share_is_read_once(policy, read):
    shared = [7 + n % 90 for n in range(60)]
    together = write(batch(policy), [[*shared, *ids] for ids in PROMPTS])
    joined = [passed for passed in read if max(passed.values()) > 1]
    assert sum(count for passed in joined for count in passed.values()) == 60 + sum(map(len, PROMPTS))
    assert together == [write(batch(policy), [[*shared, *ids]])[0] for ids in PROMPTS]


def test_out_of_memory_halves_the_batch_and_loses_nothing(policy, monkeypatch, caplog):
    whole = write(batch(policy))
    extend = Slots.extend

    def scarce(self, slots, ids):
        if self.count > 2 and self.lengths.max() > 31:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return extend(self, slots, ids)

    monkeypatch.setattr(Slots, "extend", scarce)
    with caplog.at_level(logging.WARNING):
        assert write(batch(policy)) == whole
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 8 conversations at once; going on with 4",
        "out of memory with 4 conversations at once; going on with 2",
    ]


def test_other_errors_reach_all_who_wait_and_the_batch_goes_on(policy, monkeypatch):
    one = batch(policy, slots=2)

    async def ask():
        with monkeypatch.context() as broken:
            broken.setattr(Slots, "extend", lambda *arguments: 1 / 0)
            failed = await asyncio.gather(*(one.write(ids, "s", 10) for ids in PROMPTS), return_exceptions=True)
        return failed, await one.write(PROMPTS[0], "s", 10)

    failed, written = asyncio.run(asyncio.wait_for(ask(), 30))
    assert [type(error) for error in failed] == [ZeroDivisionError] * len(PROMPTS)
    assert len(written.tokens) == 10
