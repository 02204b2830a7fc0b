"""Whether a reply was cut is told by its finish reason, or by how its text ends, in many scripts and layouts."""

import pytest

from cai_lightning.data.defects import is_cut, looks_cut
from cai_lightning.run import jsonl

BEGINNING = "There are several things that you should know before you begin, and here they are."

ENDED = {
    "full stop": "That is all.",
    "quotation": 'She said: "That is all."',
    "curly quotation": "She said: \u201cThat is all.\u201d",
    "bracket": "That is all (as far as I know)",
    "bold": "**That is all.**",
    "Chinese": "\u8fd9\u5c31\u662f\u5168\u90e8\u3002",
    "Japanese": "\u4ee5\u4e0a\u3067\u3059\uff01",
    "Arabic": "\u0647\u0644 \u0647\u0630\u0627 \u0643\u0644 \u0634\u064a\u0621\u061f",
    "Hindi": "\u092c\u0938 \u0907\u0924\u0928\u093e \u0939\u0940\u0964",
    "Armenian": "\u054d\u0561 \u0562\u0578\u056c\u0578\u0580\u0576 \u0567\u0589",
    "Thai, which has no full stop": "\u0e19\u0e35\u0e48\u0e04\u0e37\u0e2d\u0e17\u0e31\u0e49\u0e07\u0e2b\u0e21\u0e14",
    "ellipsis": "Who knows\u2026",
    "emoji": "Have fun! \U0001f60a",
    "emoji with a joiner": "Have fun \u2764\ufe0f",
    "smiley": "Have fun :)",
    "address": "See https://example.org/a/b?c=d",
    "address in brackets": "See [here](https://example.org/a/b)",
    "host": "See www.example.org",
    "mail": "Write to me@example.org",
    "code": "Run this:\n\n```python\nx = 1\n```",
    "tildes": "Run this:\n\n~~~\nx = 1\n~~~",
    "table": "| a | b |\n|---|---|\n| 1 | 2 |",
    "formula": "So it is $x = 3$",
    "list without marks": "Buy:\n- bread\n- milk\n- a pound of butter",
    "numbered list without marks": "Buy:\n1. bread\n2. milk",
    "list with marks": "Do this:\n1. Buy bread.\n2. Eat it.",
    "letter": "I hope this helps.\n\nBest regards,\nMira Smith",
    "poem": "The rose is red\nThe violet blue\nThe honey sweet\nAnd so are you",
}
CUT = {
    "mid-sentence": "That is all that I",
    "mid-word": "That is all that I kn",
    "comma": "That is all,",
    "colon": "Here is what to do:",
    "dash": "That is all \u2013",
    "apostrophe": "That is all, and I'",
    "opening quotation": 'She said, "',
    "opening bold": "Then comes this. **",
    "code that is open": "Run this:\n\n```python\nprint('Hello.')",
    "code that has just begun": "Run this:\n\n```",
    "next item's mark": "Do this:\n1. Buy bread.\n2.",
    "next bullet": "Do this:\n- Buy bread.\n-",
    "heading's mark": "That is all.\n\n##",
    "item of a list with marks": "Do this:\n1. Buy bread.\n2. Eat it with a",
    "item that goes on": "Buy:\n- bread from the shop\n- milk from the",
    "abbreviation": "Take something sweet, e.g.",
    "behind a heading": "## Begin\n\nIf you can, find a",
    "Chinese": "\u8fd9\u5c31\u662f\u5168\u90e8\uff0c\u6240\u4ee5",
    "equation": "So we find that x =",
}


@pytest.mark.parametrize("text", ENDED.values(), ids=ENDED)
def test_what_has_come_to_its_end(text):
    assert not looks_cut(f"{BEGINNING}\n\n{text}")
    assert not looks_cut(f"{BEGINNING}\n\n{text}\n \n")


@pytest.mark.parametrize("text", CUT.values(), ids=CUT)
def test_what_breaks_off(text):
    assert looks_cut(f"{BEGINNING} {text}" if "\n" not in text else f"{BEGINNING}\n\n{text}")


@pytest.mark.parametrize("text", ["", " ", "42", "Paris", "In the garden", "yes,"])
def test_a_short_answer_needs_no_mark(text):
    assert not looks_cut(text)


def test_the_finish_reason_counts_where_there_is_one():
    ended, broken = f"{BEGINNING} That is all.", f"{BEGINNING} That is all that I"
    assert [is_cut(text, reason) for text in (ended, broken) for reason in ("stop", "length", None, "unknown")] == [
        *(False, True, False, False),
        *(False, True, True, True),
    ]


def test_as_much_of_the_original_corpus_looks_cut_as_a_reader_finds(real_data):
    path = real_data / "azazel5" / "revisions_mistral_contextual.jsonl"
    rows = [row for _, row in jsonl.read_lines(path)]
    shares = {
        field: sum(looks_cut(row[field]) for row in rows) / len(rows) for field in ("revision", "initial_response")
    }
    assert shares["revision"] == pytest.approx(0.10, abs=0.01)
    assert shares["initial_response"] == pytest.approx(0.175, abs=0.01)
