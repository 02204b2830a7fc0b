"""Thoughts are told apart from words, however they are written: random texts against a plain reader of letters."""

import random
import time

import pytest

from cai_lightning.run.text import CLOSE, OPEN, join_thoughts, split_thoughts, why_silent

WORDS = ["Paris.", "Hm, ", "\n", "\n\n", " ", "a < b", "<b>", "think", "</thinking", "`x`", "`<think>`", "``", "é"]
PIECES = [*WORDS, OPEN, CLOSE, OPEN, CLOSE, f"```\n{OPEN}\n```", f"```py\n{CLOSE}"]


def read_plainly(text, opened):
    """The words and thoughts of a text, read from its first letter to its last."""
    words, thoughts, place, inside = "", [""] if opened else [], 0, opened
    while place < len(text):
        rest = text[place:]
        if inside:
            step = len(CLOSE) if rest.startswith(CLOSE) else 1
            inside = not rest.startswith(CLOSE)
            thoughts[-1] += rest[:step] if inside else ""
        elif rest.startswith("```"):
            end = rest.find("```", 3)
            step = len(rest) if end < 0 else end + 3
            words += rest[:step]
        elif rest.startswith("`") and "`" in rest[1:].split("\n")[0]:
            step = rest.index("`", 1) + 1
            words += rest[:step]
        elif rest.startswith(OPEN):
            step, inside = len(OPEN), True
            thoughts.append("")
        elif rest.startswith(CLOSE):
            step = len(CLOSE)
            if not thoughts:
                thoughts, words = [words], ""
        else:
            step = 1
            words += rest[0]
        place += step
    cleaned = [thought.strip().removeprefix(OPEN).strip() for thought in thoughts]
    return (words if words == text else words.strip()), "\n\n".join(filter(None, cleaned)) or None


def test_random_texts_are_read_as_a_plain_reader_reads_them():
    draw = random.Random(5)
    seen = set()
    for _ in range(5000):
        text = "".join(draw.choices(PIECES, k=draw.randint(0, 9)))
        opened = draw.random() < 0.3
        said = split_thoughts(text, opened)
        words, thought = read_plainly(text, opened)
        assert (said.words.strip(), said.thought) == (words.strip(), thought), (text, opened)
        seen.add((bool(words.strip()), bool(thought), opened))
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("text", "opened", "words", "thought"),
    [
        ("Paris.", False, "Paris.", None),
        ("  Paris.\n", False, "  Paris.\n", None),
        ("<think>\n\n</think>\n\nParis.", False, "Paris.", None),
        ("<think>Hm.</think>Paris.", False, "Paris.", "Hm."),
        ("\n<think>Hm.</think>\n<think>Oh.</think>\nParis.", False, "Paris.", "Hm.\n\nOh."),
        ("Hm.\n</think>\n\nParis.", False, "Paris.", "Hm."),
        ("Hm.\n</think>\n\nParis.", True, "Paris.", "Hm."),
        ("<think>\nHm.\n</think>\n\nParis.", True, "Paris.", "Hm."),
        ("<think>Hm, the capital", False, "", "Hm, the capital"),
        ("Hm, the capital", True, "", "Hm, the capital"),
        ("One. <think>Hm.</think> Two.", False, "One.  Two.", "Hm."),
        ("One.\n<think>Hm.", False, "One.", "Hm."),
        ("Write `<think>` first, then `</think>`.", False, "Write `<think>` first, then `</think>`.", None),
        ("```xml\n<think>Hm.</think>\n```\n", False, "```xml\n<think>Hm.</think>\n```\n", None),
        ("<think>In ``` code</think>Paris.", False, "Paris.", "In ``` code"),
    ],
)
def test_every_form_of_a_thought(text, opened, words, thought):
    assert split_thoughts(text, opened) == (words, thought)


def test_a_reply_without_words_says_why():
    assert why_silent("No.", "Hm.") is None
    assert why_silent(" \n", None) == "empty reply"
    assert why_silent("", "Hm.") == "unfinished thought"
    assert join_thoughts([None, " ", "a ", "b"]) == "a\n\nb"
    assert join_thoughts([]) is None


@pytest.mark.parametrize("piece", [OPEN, CLOSE, OPEN + CLOSE, "`", "```", "<", "` \n"])
def test_a_hostile_text_takes_no_time(piece):
    began = time.perf_counter()
    split_thoughts(piece * 100_000)
    assert time.perf_counter() - began < 2
