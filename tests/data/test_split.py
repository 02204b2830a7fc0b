"""The side of a prompt follows from its text alone."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.data.prompts import Shares, part, prompt_text, share
from cai_lightning.run.records import Prompt, transcript_text


def test_share_is_the_first_eight_bytes_of_the_digest():
    digest = hashlib.sha256(b"how do kites fly?").hexdigest()
    assert share("  How do\n\tkites FLY? ") == int(digest[:16], 16) / 2**64


def test_composed_and_decomposed_letters_are_one_text():
    assert share("caf\u00e9") == share("cafe\u0301")


def test_shares_come_out_as_asked():
    parts = [part(f"question {n}") for n in range(4000)]
    assert parts.count("test") / 4000 == pytest.approx(0.15, abs=0.02)
    assert parts.count("validation") / 4000 == pytest.approx(0.05, abs=0.01)


@given(st.text())
def test_part_follows_share(text):
    place = share(text)
    assert 0 <= place <= 1
    assert part(text) == ("test" if place < 0.15 else "validation" if place < 0.2 else "train")


@given(st.text())
def test_a_larger_test_share_keeps_what_was_tested(text):
    assert part(text, Shares(test=0.5)) == "test" or part(text, Shares(test=0.1)) != "test"


@pytest.mark.parametrize("shares", [{"test": -0.1}, {"validation": 1.5}, {"test": 0.7, "validation": 0.4}])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares"):
        Shares(**shares)


def test_a_transcript_stands_as_all_its_turns():
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
    ]
    assert prompt_text(Prompt(id="", prompt="Why?", turns=turns)) == transcript_text(turns)
    assert prompt_text(Prompt(id="", prompt="Why?")) == "Why?"
