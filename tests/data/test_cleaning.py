"""Cleaning takes away the words about the answer, and leaves the words that answer."""

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.data.cleaning import Cleaned, clean, commentary_spans


def strip_meta_commentary(text):
    return clean(text, "off").text


ANSWER = "Rinse the cut, and keep it dry."

COMMENTED = {
    "announcement": f"Certainly! Here's a revised version of the response:\n\n{ANSWER}",
    "improved answer": f"Here is a better response:\n\n{ANSWER}",
    "curly announcement": f"Sure! Here\u2019s a more respectful version of my answer: {ANSWER}",
    "introduction": f"I understand the concern. Here is a refined answer:\n\n{ANSWER}",
    "introduction of one word": f"Certainly!\n\nHere's a revised response:\n\n{ANSWER}",
    "header": f"**Revised Response:**\n\n{ANSWER}",
    "markdown header": f"### Final Revised Answer\n\n{ANSWER}",
    "speaker": f"Assistant: {ANSWER}",
    "repeated question": f"Human: What now?\n\nAssistant: {ANSWER}",
    "closing statement": f"{ANSWER}\n\nThis revised response avoids giving",
    "closing on the same line": f"{ANSWER} This revised version maintains a calm tone.",
    "bare closing": f"{ANSWER}\n\n(This response is now free of blame.)",
    "connected closing": f"{ANSWER}\n\nOverall, the revised response is kind.",
    "closing in a note": f"{ANSWER}\n\n(Note: This response has been edited to avoid blame.)",
    "closing about the original": f"{ANSWER}\n\nThese words are kinder than the original response.",
    "closing on the way": f"{ANSWER}\n\nBy rephrasing the response, it becomes kinder.",
    "closing about the assistant": f"{ANSWER}\n\nThe assistant provided advice without blame. It is kind.",
    "opening about the assistant": f"The assistant does not judge. It is a helper. {ANSWER}",
    "assessment": f"{ANSWER}\n\nSuggestions:\n\n1. The assistant's response could be warmer.\n2. So it goes.",
    "announcement behind a sentence": f"It is clear. Here's a revised version of the response:\n\n{ANSWER}",
    "assessment in front": f"The assistant's response may encourage crime. It is vague.\n\n{ANSWER}",
    "plan": f"I'll rephrase it to be kinder. Here's a possible response:\n\n{ANSWER}",
    "reviewer": f"{ANSWER} Is this revision satisfactory?\n\nYes, thank you.",
    "adjustments": f"{ANSWER}\n\nLet me know if you need any further adjustments!",
    "changes": f"{ANSWER}\n\n---\n\n**Changes made:**\n- softer words",
    "second draft": f"{ANSWER}\n\nRevised Response:\n\nRinse it.",
    "critique request": f"{ANSWER}\n\nCritiqueRequest: Find the flaws.\n\nRevision:\n\n{ANSWER} Twice a day, at least.",
    "critique in front": f"Critique:\n\n{ANSWER}",
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
    "letter": "Dear Sir,\n\nThank you for your response. The response was swift.",
    "last answer": "Add them up.\n\n**Final answer:** 42",
    "assistants": "A research assistant called. The assistant could hear me, and the human voice.",
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
    assert clean(f"Assistant: \u201c{ANSWER}\u201d") == Cleaned(f'"{ANSWER}"', ("typography", "meta_commentary"))


def test_an_assessment_goes_as_far_as_it_goes_on():
    said = "The assistant's advice may encourage crime. Rules are rules.\n\nFor example, it can be a plan:\n\n- Wait."
    assert strip_meta_commentary(said) == ""
    assert strip_meta_commentary(f"{said}\n\nI can't help with that.") == "I can't help with that."


def test_a_remark_goes_alone_where_the_answer_plainly_resumes():
    rest = "\n\nKeep it dry. Change the bandage. See a doctor."
    assert strip_meta_commentary(f"{ANSWER} I'd like to rephrase it.{rest}") == f"{ANSWER}{rest}"
    assert strip_meta_commentary(f"{ANSWER} I'd like to rephrase it. It is kinder. It is short. It works.") == ANSWER


def test_a_remark_about_the_assistant_goes_alone():
    text = f"Be careful.\n\n{ANSWER} The assistant does not give medical advice.\n\nSee a doctor."
    assert strip_meta_commentary(text) == f"Be careful.\n\n{ANSWER}\n\nSee a doctor."


def test_spans_name_what_goes_and_why():
    note = "**Note:** This revised response\u2019s tone is calm."
    text = f"\u201cSure\u2026\u201d\n\n{note}\n\nRevision:\n\n{ANSWER}\n\nHuman: And then?"
    assert [(text[span.start : span.end], span.kind) for span in commentary_spans(text)] == [
        (f"{note}\n\nRevision:", "commentary"),
        (ANSWER, "repeat"),
        ("Human: And then?", "turn"),
    ]


pieces = st.sampled_from([*COMMENTED.values(), *ANSWERS.values(), "\n\n", "```\n", "---\n", " ", "Revision:", "Human:"])


@given(st.lists(st.one_of(pieces, st.text(max_size=20)), max_size=8).map("".join))
def test_what_stays_is_what_no_span_covers(text):
    spans = commentary_spans(text)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    left, end = "", 0
    for span in spans:
        left, end = left + text[end : span.start], span.end
    left += text[end:]
    assert words(strip_meta_commentary(text)) == words(left)
    assert ("meta_commentary" in clean(text).changes) == (spans != [])


def words(text):
    return "".join(character for character in text if character.isalnum())


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
    counts = Counter(change for row in cleaned for change in row.changes)
    assert (counts["typography"], counts["accents"], counts["not_ascii"]) == (14, 5, 5)
    assert counts["empty"] <= 6
    assert all("CritiqueRequest" not in row.text and "revised response" not in row.text for row in cleaned)


@pytest.mark.parametrize(
    ("text", "left", "changes"),
    [
        ("<think>Harmful? Yes.</think>\n\nI'd rather not.", "I'd rather not.", ("thoughts",)),
        ("<think>\n\n</think>\n\nI'd rather not.", "I'd rather not.", ("thoughts",)),
        ("Harmful? Yes.\n</think>\n\nI'd rather not.", "I'd rather not.", ("thoughts",)),
        ("<think>Harmful? Yes. I should", "", ("thoughts", "unfinished_thought")),
        ("<think>Harmful?</think>\n", "", ("thoughts", "unfinished_thought")),
        ("<think>\n</think>", "", ("thoughts", "empty")),
        (
            "<think>Hm.</think>Certainly! Here's a revised response: I'd rather not.",
            "I'd rather not.",
            ("thoughts", "meta_commentary"),
        ),
    ],
)
def test_thoughts_are_no_words(text, left, changes):
    assert clean(text) == Cleaned(left, changes)
    assert clean(text).is_dropped == (not left)
