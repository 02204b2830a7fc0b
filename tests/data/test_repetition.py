"""How much of a text repeats what it has said before: against plain references, in every script, and in linear time."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.data.defects import LOOPING, repeated_lines, repeated_ngrams, words

TEXTS = st.text(st.sampled_from("ab \n.\t\u70e4\u9762\u0e01\u3042\uac00\u00a0"), max_size=60)
LINES = st.lists(st.sampled_from(["I rest.", "  I rest. ", "No.", "", "---", "}", "7"]), max_size=12)


def plain_words(text):
    """A reference: character by character."""
    found, word = [], ""
    for character in text:
        alone = character in "\u70e4\u9762\u0e01\u3042"
        if word and (alone or character.isspace()):
            found.append(word)
            word = ""
        if alone:
            found.append(character)
        elif not character.isspace():
            word += character
    return [*found, word] if word else found


def plain_repetition(items):
    """A reference: looks back from each item at all before it."""
    return sum(item in items[:place] for place, item in enumerate(items)) / len(items) if items else 0.0


@given(TEXTS)
def test_words_are_parted_by_blanks_and_where_there_are_none_by_characters(text):
    assert words(text) == plain_words(text)


@given(TEXTS)
def test_repeated_ngrams_are_those_that_stand_before(text):
    said = plain_words(text)
    ngrams = [said[place : place + 4] for place in range(len(said) - 3)]
    assert repeated_ngrams(text) == pytest.approx(plain_repetition(ngrams))


@given(LINES)
def test_repeated_lines_are_those_that_stand_before(lines):
    counted = [line.strip() for line in lines if line.strip() not in ("", "---", "}")]
    assert repeated_lines("\n".join(lines)) == pytest.approx(plain_repetition(counted))


@given(TEXTS)
def test_a_text_that_is_said_again_and_again_loops(text):
    once = words(text)
    assert repeated_ngrams(text) < 1
    if once:
        assert repeated_ngrams(f"{text} " * 20) > LOOPING


def test_a_text_of_a_hundred_thousand_words_is_measured_at_once():
    varied = " ".join(str(n) for n in range(100_000))
    began = time.perf_counter()
    assert repeated_ngrams(varied) == repeated_lines(varied.replace(" ", "\n")) == 0
    assert repeated_ngrams("a b c d e f g " * 15_000) > 0.999
    assert time.perf_counter() - began < 2  # the square of this would take minutes


@pytest.mark.skipif("CAI_REAL_DATA" not in os.environ, reason="CAI_REAL_DATA does not name the original corpus")
def test_few_texts_of_a_real_model_loop():
    path = Path(os.environ["CAI_REAL_DATA"]) / "azazel5" / "revisions_mistral_contextual.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    looping = [sum(repeated_ngrams(row[field]) > LOOPING for row in rows) for field in ("initial_response", "revision")]
    assert (len(rows), looping) == (979, [14, 19])
