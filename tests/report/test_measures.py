"""What is measured on a row, and how sure a mean over rows is; every figure is one that can be checked by hand."""

import difflib
import random

import pytest

from cai_lightning.commands.inspect.figures import evenness, inspect_corpus
from cai_lightning.data.cleaning import commentary_spans
from cai_lightning.data.defects import refuses
from cai_lightning.principles.constitution import Constitution, Principle
from cai_lightning.principles.wording import NO_META_COMMENTARY
from cai_lightning.report.corpora import Corpus, Row, read_corpora
from cai_lightning.report.measures import kept, measure, measures
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Round
from cai_lightning.sandbox import grammar, oracle
from cai_lightning.sandbox.dialogues import COMMENTARY_RATE
from cai_lightning.sandbox.world import BENIGN, HARMS, draw_request

STAGES = ("response", "critique 1", "revision 1", "critique 2", "revision 2")
TAIL = "This revised response avoids harmful language."


def make_row(revision="I would rather not.", initial="Sure, take a crowbar.", id="a1", rounds=1, **fields):
    turns = [Round("harm", None, "Is it?", "Rewrite.", "It is.", f"Version {n}.") for n in range(1, rounds)]
    turns.append(Round("harm", None, "Is it?", "Rewrite.", "It is.", revision))
    return Row(id, "How?", initial, tuple(turns), revision, **fields)


@pytest.mark.parametrize(
    ("revision", "head", "tail"),
    [
        ("I would rather not explain this to you.", 0, 0),
        (f"I would rather not explain this to you. {TAIL}", 0, 1),
        ("Here is the revised response:\n\nI would rather not explain this to you.", 1, 0),
        ("Certainly! Here is a revised version:\n\nI would rather not explain this to you.", 1, 0),
        (f"Here is the revised response:\n\nI would rather not explain this to you.\n\n{TAIL}", 1, 1),
    ],
)
def test_commentary_at_head_and_tail(revision, head, tail):
    values = measure(make_row(revision))
    assert (values["commentary_head"], values["commentary_tail"]) == (head, tail)
    assert values["commentary"] == max(head, tail)
    spans = commentary_spans(revision)
    assert values["commentary_characters"] == pytest.approx(1 - len(kept(revision, spans)) / len(revision))


def test_the_detector_agrees_with_the_grammar():
    rng = random.Random(0)
    for suffix in ("", NO_META_COMMENTARY):
        for _ in range(150):
            request = draw_request(rng, (*HARMS, *BENIGN), severe_rate=0.5)
            answer = grammar.text_of(grammar.respond(request, rng))
            text = grammar.comment(answer, request, rng, COMMENTARY_RATE[suffix])
            assert oracle.commented(text) == (text != answer)
            assert measure(make_row(text))["commentary"] == oracle.commented(text), text


def test_similarity_is_of_words_to_the_answer_before():
    values = measure(make_row("one two three five", "one two three four", rounds=1))
    assert values["similarity_1"] == 0.75
    assert values["unchanged_1"] == 0
    twice = measure(make_row("Version 1.", "Version 1.", rounds=2))
    assert (twice["unchanged_1"], twice["unchanged_2"], twice["similarity_2"]) == (1, 1, 1)


def test_similarity_is_close_to_the_one_of_difflib():
    rng = random.Random(0)
    words = [f"w{n}" for n in range(30)]
    for _ in range(20):
        before, after = (" ".join(rng.choices(words, k=40)) for _ in range(2))
        mine = measure(make_row(after, before))["similarity_1"]
        theirs = difflib.SequenceMatcher(None, before.split(), after.split(), autojunk=False).ratio()
        assert (
            theirs <= mine + 1e-9 < theirs + 0.25
        )  # difflib's matching blocks are a common subsequence, not the longest


def test_lengths_characters_and_reasons():
    endings = dict(zip(STAGES, ("length", "stop", "stop", "length", "stop"), strict=True))
    row = make_row("Four small words é", "Two words", rounds=2, endings=endings)
    values = measure(row)
    assert (values["words_response"], values["words_critique"], values["words_revision"]) == (2, 2, 4)
    assert (values["cut_response"], values["cut_critique"], values["cut_revision"]) == (1, 0.5, 0)
    assert (values["non_ascii_response"], values["non_ascii_revision"]) == (0, 1)
    assert values["non_ascii_characters"] == 1 / 18


def test_an_unknown_ending_of_the_last_revision_is_not_that_of_an_earlier_one():
    endings = dict(zip(STAGES, ("stop", "stop", "length", "max_tokens", "unknown"), strict=True))
    values = measure(make_row(rounds=2, endings=endings))
    assert "cut_revision" not in values
    assert (values["cut_response"], values["cut_critique"]) == (0, 0.5)


def test_what_does_not_apply_is_left_out():
    values = measure(Row("a", "How?", "So.", (Round("h", None, "", "", None, ""),), ""))
    assert not {"cut_response", "words_critique"} & values.keys()
    assert values["non_ascii_characters"] == values["commentary_characters"] == 0


def test_every_measure_has_a_value_and_every_value_a_measure():
    names = {measure.name for group in measures(2).values() for measure in group}
    assert measure(make_row(rounds=2, endings=dict.fromkeys(STAGES, "stop"))).keys() == names


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't assist with that.",
        "I\u2019m not going to give you a list of illegal substances.",
        "I understand. I must clarify that I am unable to provide such advice.",
        "No, I cannot in good conscience teach you that.",
        "I would rather not help you pick a lock, since it harms others.",
        "Sorry, I would rather talk about something else.",
        "I don't have access to personal information such as home addresses.",
    ],
)
def test_a_refusal_is_told_by_its_beginning(answer):
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Assault is illegal in Palau.",
        "I can't think of any, but there are plenty of examples.",
        "I'm not a lawyer, but it is a bad idea. Here is what I would do.",
        "Sure. Take a crowbar. Then wait. I cannot help with the rest.",
        "You can't help somebody who will not be helped.",
    ],
)
def test_what_is_no_refusal(answer):
    assert not refuses(answer)


def test_commentary_in_front_does_not_hide_a_refusal():
    text = "Here is the revised response:\n\nI'm sorry, but I can't help with that."
    assert measure(make_row(text))["refusal_revision"] == 1


@pytest.mark.parametrize(("counts", "expected"), [([3, 3, 3], 1), ([9, 0, 0], 0), ([9], 1), ([5, 5, 0, 0], 0.5)])
def test_evenness(counts, expected):
    assert evenness(counts) == pytest.approx(expected)


def test_repeats_are_counted_without_the_first():
    inspection = inspect_corpus(Corpus("c", tuple(make_row(revision) for revision in ("a", "b", "a", "a"))))
    assert (inspection.repeated_prompts, inspection.repeated_revisions) == (3, 2)


def test_unused_principles_of_a_known_constitution_count_zero_and_foreign_texts_get_their_names():
    constitution = Constitution("c", (Principle("harm", "Is it?", "Rewrite."), Principle("law", "Legal?", "Mend.")))
    foreign = Row("b", "Why?", "So.", (Round("Is it?", None, "Is it?", "", None, ""),), "")
    inspection = inspect_corpus(Corpus("c", (make_row(), foreign)), constitution)
    assert inspection.principles == {"harm": 2, "law": 0}
    assert (inspection.unused, evenness(inspection.principles.values())) == (["law"], 0)
    with pytest.raises(UserError, match="'harm', which is no principle of other"):
        inspect_corpus(Corpus("c", (make_row(),)), Constitution("other", constitution.principles[1:]))


def test_many_rows_are_measured_as_few_are(monkeypatch):
    rows = tuple(make_row(f"No. {TAIL}" if n % 3 else "No.", id=f"{n:04x}") for n in range(250))
    alone = inspect_corpus(Corpus("c", rows))
    monkeypatch.setattr("cai_lightning.commands.inspect.figures.MANY", 100)
    together = inspect_corpus(Corpus("c", rows))
    assert {name: list(v) for name, v in alone.values.items()} == {name: list(v) for name, v in together.values.items()}


def test_the_original_experiment(real_data):
    (corpus,) = read_corpora([real_data / "azazel5" / "revisions_mistral_contextual.jsonl"])
    inspection = inspect_corpus(corpus)
    sums = {name: values.sum() for name, values in inspection.values.items()}
    assert len(corpus.rows) == 979
    assert (sums["non_ascii_response"], sums["non_ascii_revision"], sums["unchanged_1"]) == (119, 23, 12)
    assert inspection.repeated_prompts == 979 - 715
    assert len(inspection.principles) == 16
    assert 200 <= sums["commentary"] <= 260
    assert 40 <= sums["refusal_revision"] <= 60


def test_repetition_is_measured_in_responses_and_revisions():
    values = measure(make_row("I rest. " * 12, "Sure.\nTake a crowbar and a lamp.\nSure."))
    assert values["repetition_revision"] == pytest.approx(1 - 2 / 21)
    assert (values["looping_revision"], values["looping_response"], values["repetition_response"]) == (1, 0, 0)
    assert values["repeated_lines_response"] == pytest.approx(1 / 3)
    assert values["repeated_lines_revision"] == 0
