"""A question that a server has cut is told from one that it has read."""

import pytest

from cai_lightning.services.room import why_cut, why_too_long

CONTEXT, ANSWER = 8192, 512


def test_what_clearly_cannot_fit_is_not_sent():
    assert why_too_long(60_000, ANSWER, CONTEXT) is None
    assert "100000 bytes" in why_too_long(100_000, ANSWER, CONTEXT)


@pytest.mark.parametrize("read", [None, 1, 700, 4098])
def test_a_short_question_fits_whatever_the_server_counts(read):
    assert why_cut(3_000, read, ANSWER, CONTEXT) is None


@pytest.mark.parametrize(("size", "read"), [(20_000, 5_000), (20_000, 7_000), (30_000, 6_500)])
def test_a_long_question_that_was_read_is_no_cut_one(size, read):
    assert why_cut(size, read, ANSWER, CONTEXT) is None


@pytest.mark.parametrize(
    ("size", "read"),
    [
        (40_000, 4_098),  # Ollama keeps half of the context, and counts what it has kept
        (20_000, 4_096),
        (60_000, 7_000),  # nine bytes a token are too many
        (30_000, 8_192),
        (20_000, 0),  # as an Ollama that has the question in its cache may count
    ],
)
def test_a_cut_question_is_seen(size, read):
    assert f"has read {read} tokens of a question of {size} bytes" in why_cut(size, read, ANSWER, CONTEXT)


def test_a_server_that_does_not_count_is_not_believed():
    assert "does not say" in why_cut(20_000, None, ANSWER, CONTEXT)
