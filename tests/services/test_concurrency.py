"""A window of calls: what cannot be had is set aside, and where nothing can be had it is said soon."""

import asyncio

import pytest

from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.services.concurrency import LEAST_FAILURES, for_each


def run(items, width, fails):
    """What was tried, made and set aside, and the error in the end."""
    tried, made, aside = [], [], []

    async def work(item):
        tried.append(item)
        await asyncio.sleep(0)
        if fails(item):
            raise ReplyError(f"no {item}")
        made.append(item)

    try:
        asyncio.run(for_each(work, items, width, lambda item, error: aside.append((item, str(error)))))
    except UserError as error:
        return tried, made, aside, str(error)
    return tried, made, aside, None


@pytest.mark.parametrize("width", [1, 3, 50])
def test_what_fails_is_set_aside_and_the_others_go_on(width):
    tried, made, aside, error = run(range(40), width, lambda item: item % 3 == 0)
    assert (tried, error) == (list(range(40)), None)
    assert made == [item for item in range(40) if item % 3]
    assert aside == [(item, f"no {item}") for item in range(0, 40, 3)]


@pytest.mark.parametrize(("width", "most"), [(1, LEAST_FAILURES), (8, LEAST_FAILURES), (30, 60)])
def test_a_server_that_is_down_is_not_asked_for_ever(width, most):
    tried, made, aside, error = run(range(1000), width, lambda item: item >= 100)
    assert made == list(range(100))
    assert most <= len(aside) < most + width
    assert len(tried) <= 100 + most + width
    assert error == f"gave up after {most} rows in a row had failed, the last of them: no {99 + most}"


def test_any_success_shows_that_it_is_not_down():
    assert run(range(200), 1, lambda item: item % LEAST_FAILURES)[3] is None


def test_what_comes_of_each_item_stands_in_their_order():
    async def work(item):
        await asyncio.sleep(0.001 * (5 - item))
        if item == 2:
            raise ReplyError("none")
        return item * 10

    found = asyncio.run(for_each(work, range(5), 3, lambda item, error: f"{item}: {error}"))
    assert found == [0, 10, "2: none", 30, 40]
