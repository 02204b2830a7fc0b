"""Boilerplate against a plain count, and where it begins."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.data.defects import phrases, said_too_often, says_any, worst

TEXTS = st.lists(st.sampled_from(["you", "are", "not", "alone", "here"]), max_size=9).map(" ".join)
ANSWERS = st.lists(st.tuples(TEXTS, st.sampled_from("abcdef")), max_size=25)


def plainly(answers, prompts, reference):
    """The same by the letter: every 4-gram of any answer is looked for in all of them."""
    grams = {tuple(text.split()[n : n + 4]) for text in answers for n in range(len(text.split()) - 3)}

    def say(texts, gram):
        return [n for n, text in enumerate(texts) if any(gram == tuple(text.split()[k : k + 4]) for k in range(9))]

    said, known = sum(map(bool, answers)), sum(map(bool, reference))
    return {
        " ".join(gram): (len(here) / said, len(say(reference, gram)) / known)
        for gram in grams
        if known
        and len(here := say(answers, gram)) / said >= 0.05
        and len(here) * known >= 5 * max(1, len(say(reference, gram))) * said
        and len({prompts[n] for n in here}) >= 3
    }


@given(ANSWERS, st.lists(TEXTS, max_size=25))
def test_it_is_a_plain_count(rows, reference):
    answers, prompts = [text for text, _ in rows], [prompt for _, prompt in rows]
    found = said_too_often(answers, prompts, reference)
    assert {one.text: (one.share, one.before) for one in found} == pytest.approx(plainly(answers, prompts, reference))
    assert [one.share for one in found] == sorted((one.share for one in found), reverse=True)
    for text in answers:
        assert says_any(text, {one.text for one in found}) == any(one.text in text for one in found)


def rates(here, there, size=400):
    """How a phrase fares that stands in so many of as many answers of both."""
    answers = ["We are all here now."] * here + ["No."] * (size - here)
    reference = ["We are all here now."] * there + ["No."] * (size - there)
    return said_too_often(answers, [str(n) for n in range(size)], reference)


@pytest.mark.parametrize(
    ("here", "there", "counts"), [(20, 0, True), (19, 0, False), (20, 4, True), (20, 5, False), (400, 81, False)]
)
def test_it_begins_at_5_per_cent_and_5_times(here, there, counts):
    assert bool(rates(here, there)) == counts


def test_few_answers_or_prompts_prove_nothing():
    assert not rates(4, 0, size=40)  # twice the share, but never said counts as said once in 40
    assert rates(5, 0, size=40)
    same = said_too_often(["We are all here now."] * 34, ["a", "b"] * 17, ["No."] * 400)
    assert same == []  # the phrase is what these two prompts are about


def test_case_and_punctuation_do_not_count():
    assert phrases("**You\u2019re** not alone, FRIEND!") == phrases("you're not alone: friend")
    assert phrases("One two three - four.") == {"one two three four"}
    assert phrases("too few words") == set()


def test_the_worst_are_named_without_their_neighbours():
    answers = [f"You are not alone here. Please reach out for support {n}." for n in range(40)]
    found = said_too_often(answers, list(map(str, range(40))), ["No."] * 40)
    assert Counter(one.share for one in found) == {1.0: len(found)}
    named = [set(one.text.split()) for one in worst(found, 3)]
    assert 2 <= len(named) <= 3
    assert all(len(a & b) < 3 for n, a in enumerate(named) for b in named[:n])
