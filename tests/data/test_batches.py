"""Batches hold rows of similar length, in an order that a resumed run repeats, shared out among processes."""

import pytest

from cai_lightning.data.batches import LengthBatches

LENGTHS = [5, 9, 1, 7, 3, 8, 2, 6, 4, 10]


def rows(batches):
    return sorted(row for batch in batches for row in batch)


def test_each_row_comes_once_beside_rows_like_it():
    batches = list(LengthBatches(LENGTHS, 3))
    assert rows(batches) == list(range(10))
    spans = [max(lengths) - min(lengths) for batch in batches for lengths in [[LENGTHS[row] for row in batch]]]
    assert max(spans) <= 2


def test_the_order_follows_from_seed_and_epoch():
    def order(seed, epoch):
        sampler = LengthBatches(LENGTHS, 2, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 3) == order(1, 3)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in range(5)}) > 5


def test_without_shuffling_the_longest_batch_is_first():
    assert next(iter(LengthBatches(LENGTHS, 2, shuffle=False))) == [9, 1]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("count", [1, 2, 9, 10])
def test_processes_train_alike_and_validate_every_row_once(world_size, count):
    def shares(shuffle):
        return [list(LengthBatches(LENGTHS[:count], 2, r, world_size, shuffle=shuffle)) for r in range(world_size)]

    trained = shares(shuffle=True)
    assert {len(share) for share in trained} == {len(LengthBatches(LENGTHS[:count], 2, 0, world_size))}
    assert set(rows(batch for share in trained for batch in share)) == set(range(count))
    assert rows(batch for share in shares(shuffle=False) for batch in share) == list(range(count))
