"""Cleaning takes away the words about the answer, and leaves the words that answer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.data.cleaning import Cleaned, clean, strip_meta_commentary, to_ascii

ANSWER = "Rinse the cut, and keep it dry."

COMMENTED = {
    "announcement": f"Certainly! Here's a revised version of the response:\n\n{ANSWER}",
    "curly announcement": f"Sure! Here\u2019s a more respectful version of my answer: {ANSWER}",
    "introduction": f"I understand the concern. Here is a refined answer:\n\n{ANSWER}",
    "header": f"**Revised Response:**\n\n{ANSWER}",
    "markdown header": f"### Final Revised Answer\n\n{ANSWER}",
    "speaker": f"Assistant: {ANSWER}",
    "repeated question": f"Human: What now?\n\nAssistant: {ANSWER}",
    "closing statement": f"{ANSWER}\n\nThis revised response avoids giving",
    "closing on the same line": f"{ANSWER} This revised version maintains a calm tone.",
    "bare closing": f"{ANSWER}\n\n(This response is now free of blame.)",
    "connected closing": f"{ANSWER}\n\nOverall, the revised response is kind.",
    "assessment": f"{ANSWER}\n\nSuggestions:\n\n1. The assistant's response could be warmer.\n2. So it goes.",
    "reviewer": f"{ANSWER} Is this revision satisfactory?\n\nYes, thank you.",
    "adjustments": f"{ANSWER}\n\nLet me know if you need any further adjustments!",
    "changes": f"{ANSWER}\n\n---\n\n**Changes made:**\n- softer words",
    "second draft": f"{ANSWER}\n\nRevised Response:\n\nRinse it.",
    "critique request": f"{ANSWER}\n\nCritiqueRequest: Find the flaws.\n\nRevision:\n\n{ANSWER} Twice a day, at least.",
    "critique": f"{ANSWER}\n\nCritique: Too short.",
    "user": f"{ANSWER}\nUser: And then?",
    "human": f"{ANSWER}\n\nHuman: And then?\n\nAssistant: Wait.",
}

ANSWERS = {
    "interjection": "Certainly! Rinse it.",
    "offer": "Sure, I'd be happy to help. Here's a quick guide:\n\n1. Rinse it.",
    "steps": "By following these steps, you heal faster.\n\n### Conclusion\n\nThis approach is safe.",
    "apology": "I apologize if my previous response wasn't clear. As an AI, I have no hands.",
    "farewell": "Rinse it. Feel free to ask! Let me know if you have other questions.",
    "edited text": "Here's a revised version of your letter:\n\nDear Sir, I resign.",
    "topic": "An immune response takes days. This response removes germs.",
    "two texts": "Original: he go\nRevised: he goes",
    "book": "The revised edition of the atlas appeared in 1911.",
    "list": "* User: the person\n* Critique of art: a craft",
    "code": "Use this:\n\n```python\nprint('Revised Response:')\n# Human: hello\n```\n\nIt prints one line.",
}


@pytest.mark.parametrize("form", COMMENTED)
def test_commentary_goes(form):
    assert strip_meta_commentary(COMMENTED[form]) == ANSWER


@pytest.mark.parametrize("form", ANSWERS)
def test_answers_stay(form):
    assert strip_meta_commentary(ANSWERS[form]) == ANSWERS[form]


def test_code_behind_commentary_stays():
    code = "```python\nx = 1\n```"
    text = f"The loop is now shorter. Here's a revised version:\n\n{code}\n\nThis revised version avoids harm."
    assert strip_meta_commentary(text).endswith(code)


@pytest.mark.parametrize("text", ["", " \n", "CritiqueRequest: Find the flaws.", "This revised response is kind."])
def test_nothing_is_left_where_nothing_answers(text):
    assert clean(text).text.strip() == ""
    assert "empty" in clean(text).changes


def test_changes_are_told():
    assert clean(ANSWER) == Cleaned(ANSWER)
    assert clean(f"Assistant: \u201c{ANSWER}\u201d") == Cleaned(f'"{ANSWER}"', ("ascii", "meta_commentary"))


def test_marks_and_accents_are_transliterated():
    text = "\u201cCaf\u00e9\u201d \u2013 it\u2019s na\u0131\u0308ve\u2026\u00a0\n\tyes\u2028no"
    assert to_ascii(text) == '"Cafe" - it\'s naive... \n\tyes\nno'


@given(st.text())
def test_ascii_is_plain_and_final(text):
    plain = to_ascii(text)
    assert plain.isascii()
    assert to_ascii(plain) == plain


pieces = st.sampled_from([*COMMENTED.values(), *ANSWERS.values(), "\n\n", "```\n", "---\n", " ", "Revision:", "Human:"])


@given(st.lists(st.one_of(pieces, st.text(max_size=20)), max_size=8).map("".join))
def test_cleaning_twice_is_cleaning_once(text):
    once = strip_meta_commentary(text)
    assert strip_meta_commentary(once) == once
    assert len(once) <= len(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit", ["a", "*", ". ", "\n", "```\n", "thank you ", "is this version ", "Assistant: ", "a\nRevision:\n", '"(*_# ']
)
def test_long_texts_are_cleaned_in_time(unit):
    strip_meta_commentary(unit * (60_000 // len(unit)))


def test_real_revisions(real_data):
    lines = (real_data / "azazel5" / "revisions_mistral_contextual.jsonl").read_text().splitlines()
    cleaned = [clean(json.loads(line)["revision"]) for line in lines]
    changed = sum("meta_commentary" in row.changes for row in cleaned)
    assert 200 <= changed <= 240
    assert sum("ascii" in row.changes for row in cleaned) == 23
    assert sum("empty" in row.changes for row in cleaned) <= 5
    assert all("CritiqueRequest" not in row.text and "revised response" not in row.text for row in cleaned)
