"""Every row comes once an epoch, every process does the same number of batches, and a step knows all of its tokens."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.data.batches import IGNORED, Batches, Example, Planned, Sizes, fill, in_batches, plan


def example(length):
    return Example(str(length), list(range(length)), [IGNORED, *range(1, length)], truncated=False)


@st.composite
def sizes(draw):
    few = st.integers(1, 4)
    return Sizes(draw(few), draw(st.none() | st.integers(1, 30)), draw(few), draw(few))


@given(st.lists(st.integers(2, 20), min_size=1, max_size=40), sizes(), st.integers(0, 3))
def test_a_plan_holds_what_it_promises(lengths, sizes, epoch):
    examples = [example(length) for length in lengths]
    shares = plan(examples, sizes, 7, epoch)
    assert len({len(share) for share in shares}) == 1
    assert sorted(row for share in shares for batch in share for row in batch.rows) == list(range(len(lengths)))
    for start in range(0, len(shares[0]), sizes.batches_per_step):
        step = [batch for share in shares for batch in share[start : start + sizes.batches_per_step]]
        tokens = sum(examples[row].supervised for batch in step for row in batch.rows)
        assert {batch.step_tokens for batch in step} == {tokens}
    for batch in (batch for share in shares for batch in share if len(batch.rows) > 1):
        assert len(batch.rows) <= sizes.batch_size
        assert sizes.max_tokens is None or sum(lengths[row] for row in batch.rows) <= sizes.max_tokens
    assert shares == plan(examples, sizes, 7, epoch)


@given(st.lists(st.integers(2, 20), min_size=1, max_size=40), sizes())
def test_every_epoch_has_as_many_batches(lengths, sizes):
    examples = [example(length) for length in lengths]
    assert len({len(plan(examples, sizes, 7, epoch)[0]) for epoch in range(4)}) == 1


@pytest.mark.parametrize("max_tokens", [None, 40])
def test_epochs_and_seeds_differ(max_tokens):
    examples = [example(length) for length in range(2, 22)]
    plans = [plan(examples, Sizes(4, max_tokens), seed, epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert all(left != right for n, left in enumerate(plans) for right in plans[:n])


def test_the_same_rows_make_a_step_however_it_is_accumulated():
    examples = [example(length) for length in range(2, 18)]
    steps = []
    for size in (1, 2, 8):
        (share,) = plan(examples, Sizes(size, batches_per_step=8 // size), 1, 0)
        rows = [row for batch in share for row in batch.rows]
        steps.append((rows[:8], rows[8:], {batch.step_tokens for batch in share}))
    assert steps[0] == steps[1] == steps[2]


def test_a_batch_is_closed_where_the_next_row_does_not_fit():
    assert fill([0, 1, 2, 3], [5, 5, 11, 1], Sizes(4, max_tokens=10)) == [(0, 1), (2,), (3,)]


def test_batches_go_on_where_they_were_saved():
    every = [Planned((row,), 1) for row in range(5)]
    batches = Batches(lambda: every, lambda planned: planned.rows[0])
    assert list(batches) == [0, 1, 2, 3, 4]
    running = iter(batches)
    assert [next(running), next(running)] == [0, 1]
    other = Batches(lambda: every, lambda planned: planned.rows[0], batches.done)
    assert len(other) == 5
    assert list(other) == [2, 3, 4]
    assert list(other) == [0, 1, 2, 3, 4]
    assert list(Batches(lambda: every, lambda planned: planned.rows[0], other.done)) == [0, 1, 2, 3, 4]


@given(st.lists(st.integers(0, 20)), st.integers(0, 20))
def test_items_come_into_batches_in_their_order_each_as_full_as_it_may_be(items, most):
    batches = in_batches(items, lambda batch: sum(batch) <= most)
    assert [item for batch in batches for item in batch] == items
    assert all(sum(batch) <= most or len(batch) == 1 for batch in batches)
    assert all(sum(batch) + following[0] > most for batch, following in pairwise(batches))
