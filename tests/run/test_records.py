"""Ids join the records of all experiments, and a record survives its file whatever it says."""

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.run.records import (
    Prompt,
    Response,
    Revision,
    Round,
    Score,
    number_ids,
    prompt_id,
    samples_of,
    shared_id,
    to_json,
    transcript_text,
)

anything = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["\ud800", "a\u2028b\u2029\u0085", "\r\n\x00", "é😀"]
)


def test_an_id_is_the_beginning_of_the_texts_sha_256():
    assert prompt_id("How do I pick a lock?") == hashlib.sha256(b"How do I pick a lock?").hexdigest()[:16]
    assert prompt_id("x") != prompt_id("x ") != prompt_id("X")


def test_repeated_texts_are_numbered_and_so_are_samples():
    first, other, second, third = number_ids(["a", "b", "a", "a"])
    assert (first, other) == (prompt_id("a"), prompt_id("b"))
    assert (second, third) == (f"{first}-2", f"{first}-3")
    assert prompt_id("a", 1, 3) == f"{first}.3"
    assert prompt_id("a", 2, 1) == f"{first}-2.1"


def test_samples_of_a_prompt_are_joined_by_their_ids():
    prompt = Prompt(prompt_id("a", 2), "a", "source", "kind")
    assert samples_of(prompt, 1) == [prompt]
    samples = samples_of(prompt, 3)
    assert [sample.id for sample in samples] == [prompt_id("a", 2, k) for k in range(3)]
    assert {(sample.prompt, sample.source, sample.category) for sample in samples} == {("a", "source", "kind")}
    assert [sample.sample for sample in samples] == [0, 1, 2]
    assert {shared_id(sample) for sample in samples} == {prompt_id("a")}


def test_what_records_share_is_recorded_or_follows_from_what_was_asked():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert shared_id(Prompt("x.1", "a")) == shared_id(Prompt("y-2", "a")) == prompt_id("a")
    assert shared_id(Prompt("x.1", "c", turns=turns)) == prompt_id(transcript_text(turns))
    assert shared_id(Prompt("x.1", "a", prompt_id="p.q-2")) == "p.q-2"


@given(st.lists(st.sampled_from(["a", "b", "c"])))
def test_ids_are_distinct_and_do_not_move_when_rows_are_added(texts):
    ids = number_ids(texts)
    assert len(set(ids)) == len(texts)
    assert number_ids([*texts, "a", "d"])[: len(texts)] == ids


@given(anything)
def test_every_text_has_an_id(text):
    assert len(prompt_id(text)) == 16


def test_a_transcript_stands_for_itself_as_compact_json():
    assert transcript_text([{"role": "user", "content": "é"}]) == '[{"role":"user","content":"é"}]'


@given(anything, anything, st.none() | st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": anything})))
def test_a_revision_survives_json(prompt, text, turns):
    rounds = [Round("p", None, text, text, text, text), Round("q", 0.5, text, text, None, text)]
    revision = Revision("id", prompt, text, rounds, text, ["stop"], "m", "e", {}, 1, {"name": text}, "now", turns=turns)
    line = to_json(revision)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["rounds"][1]["critique"] is None
    assert Revision(**{**fields, "rounds": [Round(**row) for row in fields["rounds"]]}) == revision


@given(anything, st.none() | anything, st.none() | anything)
def test_a_response_survives_json(text, reference, category):
    response = Response("id", text, text, reference, "length", "m", None, category)
    assert Response(**json.loads(to_json(response))) == response


@given(st.none() | st.floats(allow_nan=False, allow_infinity=False), st.none() | anything)
def test_a_score_survives_json(value, reason):
    score = Score("id", "m", value, reason, {"why": reason}, None, "digest")
    assert Score(**json.loads(to_json(score))) == score


def test_what_design_names_is_always_there_and_absent_turns_are_not():
    fields = json.loads(to_json(Response("id", "p", "r", None, "stop", "m", None)))
    assert list(fields) == ["id", "prompt", "sample", "response", "reference", "finish_reason", "model", "adapter"]
