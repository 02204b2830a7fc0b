"""Prompts come whole from every source, and what is wrong with a row is said with its place."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai_lightning.data.prompts import read_prompts
from cai_lightning.principles import wording
from cai_lightning.principles.constitution import EVALUATION_FILES, Principle
from cai_lightning.principles.few_shots import open_few_shots
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import number_ids, transcript_text

PRINCIPLE = Principle("kind", "Is it kind?", "Make it kind.")
texts = st.text(min_size=1).filter(str.strip)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=st.lists(texts, min_size=1, max_size=5))
def test_any_text_stays_whole(tmp_path, prompts):
    read = read_prompts(write(tmp_path / "prompts.jsonl", [{"prompt": text} for text in prompts]))
    assert [prompt.prompt for prompt in read] == prompts
    assert [prompt.id for prompt in read] == number_ids(prompts)


def test_fields_are_kept_and_ids_computed(tmp_path):
    row = {"id": "mine", "prompt": "Note: two\n\nparagraphs", "category": "theft", "source": "forum"}
    (prompt,) = read_prompts(write(tmp_path / "prompts.jsonl", [row]))
    assert (prompt.prompt, prompt.category, prompt.source) == ("Note: two\n\nparagraphs", "theft", "forum")
    assert prompt.id == number_ids([prompt.prompt])[0]


def test_a_last_line_without_newline_counts(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one"}\n\n{"prompt": "two"}')
    assert [prompt.prompt for prompt in read_prompts(str(tmp_path / "prompts.jsonl"))] == ["one", "two"]


def test_a_transcript_ends_in_its_last_human_turn(tmp_path):
    text = "\n\nHuman: Hi: there\n\nAssistant: Hello.\n\nHuman: Why?\n\nReally?\n\nAssistant: Because."
    (prompt,) = read_prompts(write(tmp_path / "hh.jsonl", [{"chosen": text, "rejected": text}]))
    assert prompt.prompt == "Why?\n\nReally?"
    assert [turn["content"] for turn in prompt.turns] == ["Hi: there", "Hello.", "Why?\n\nReally?"]
    assert prompt.id == number_ids([transcript_text(prompt.turns)])[0]


def test_a_single_human_turn_is_an_ordinary_prompt(tmp_path):
    path = tmp_path / "hh.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"transcript": "\n\nHuman: Hi\n\nAssistant: Hello."}).encode()))
    (prompt,) = read_prompts(str(path))
    assert (prompt.prompt, prompt.turns) == ("Hi", None)


def test_a_speaker_twice_running_has_one_turn(tmp_path):
    text = "\n\nHuman: One\n\nHuman: Two\n\nAssistant: Three"
    (prompt,) = read_prompts(write(tmp_path / "hh.jsonl", [{"chosen": text}]))
    assert (prompt.prompt, prompt.turns) == ("One\n\nTwo", None)


def test_a_column_can_be_named(tmp_path):
    row = {"chosen": "\n\nHuman: A", "rejected": "\n\nHuman: B", "question": "C"}
    path = write(tmp_path / "rows.jsonl", [row])
    assert [read_prompts(path, column)[0].prompt for column in ("prompt", "rejected", "question")] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "', "not JSON"),
        ("[1]", "JSON object"),
        ('{"text": "x"}', "no 'prompt'"),
        ('{"prompt": 7}', "must be a text, not 7"),
        ('{"prompt": " \\n"}', "is empty"),
        ('{"prompt": "x", "category": 3}', "'category' must be a text, not 3"),
        ('{"chosen": "Assistant: hi"}', "begins with 'Human:'"),
        ('{"chosen": "\\n\\nHuman:  \\n\\nAssistant: hi"}', "says something"),
        ('{"chosen": null}', "must be a text"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, line, message):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "fine"}\n' + line + "\n")
    with pytest.raises(UserError, match=message) as error:
        read_prompts(str(path))
    assert f"{path}, line 2" in str(error.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path, content):
    for name in ("rows.jsonl", "rows.jsonl.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_prompts(str(tmp_path / name))


def test_a_torn_archive_is_refused(tmp_path):
    (tmp_path / "rows.gz").write_bytes(gzip.compress(b'{"prompt": "x"}' * 50)[:-12])
    with pytest.raises(UserError, match="cannot be read"):
        read_prompts(str(tmp_path / "rows.gz"))


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_prompts(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(UserError, match="HarmfulnessClassification"):
        read_prompts(str(tmp_path))


def test_a_dataset_of_the_hub(monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", lambda name, data_dir, split: [{"q": f"{name} {data_dir} {split}"}])
    for source, folder in (("hf:some/set", None), ("hf:some/set:a-folder", "a-folder")):
        (prompt,) = read_prompts(source, column="q", split="test")
        assert (prompt.prompt, prompt.source) == (f"some/set {folder} test", source)


def test_a_dataset_that_cannot_be_loaded(monkeypatch):
    def refuse(name, data_dir, split):
        raise ConnectionError("unreachable")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(UserError, match=r"hf:some/set.*unreachable"):
        read_prompts("hf:some/set")


QUESTION = "\n\nChoose the option that best characterizes the way in which it was harmful\n (A) Theft\n (B) Abuse"


def evaluations(folder, **fields):
    """The paper's three files with a row each, the first with the question for the kind of harm."""
    rows = ({"prompt": f"\n\nHuman: A\n\nAssistant: No.{QUESTION}"} | fields, {"text_correct": "\n\nHuman: B"})
    for name, row in zip(EVALUATION_FILES, (*rows, {"prompt": "\n\nHuman: C"}), strict=True):
        write(folder / name, [row])
    return str(folder)


def test_the_kind_of_harm_is_the_option_that_is_right(tmp_path):
    prompts = read_prompts(evaluations(tmp_path, corrects=[" (B)"]))
    assert [(prompt.prompt, prompt.category) for prompt in prompts] == [("A", "Abuse"), ("B", None), ("C", None)]


@pytest.mark.parametrize("corrects", [[1], None, "(A)", [], [" (A)", " (B)"], [" (C)"], [[1]]])
def test_a_kind_of_harm_that_is_no_option_is_named(tmp_path, corrects):
    with pytest.raises(UserError, match=r"HarmfulnessClassification\.jsonl, line 1: 'corrects' must name one"):
        read_prompts(evaluations(tmp_path, corrects=corrects))


def test_the_979_prompts(real_data):
    prompts = read_prompts(str(real_data / "anthropic"))
    assert len(prompts) == len({prompt.id for prompt in prompts}) == 979
    assert len({prompt.prompt for prompt in prompts}) == 715
    lines = (real_data / "azazel5" / "revisions_mistral_contextual.jsonl").read_text().splitlines()
    rows = map(json.loads, lines)
    pairs = [(prompt.prompt, row["prompt"]) for prompt, row in zip(prompts, rows, strict=True)]
    assert sum(ours != theirs for ours, theirs in pairs) == 48
    assert all(theirs in (ours, ours.split("\n\n")[0]) for ours, theirs in pairs)


def test_real_transcripts(real_data):
    prompts = read_prompts(str(real_data / "hh-rlhf" / "harmless-base" / "test.jsonl.gz"))
    assert len(prompts) == 2312
    assert len({prompt.id for prompt in prompts}) == 2312
    transcripts = [prompt for prompt in prompts if prompt.turns]
    assert len(transcripts) == 1650
    for prompt in transcripts:
        assert [turn["role"] for turn in prompt.turns] == ["user", "assistant"] * (len(prompt.turns) // 2) + ["user"]
        assert all(turn["content"].strip() for turn in prompt.turns)
        assert prompt.turns[-1]["content"] == prompt.prompt


def test_examples_stand_in_front_of_real_transcripts(real_data):
    """What is asked for a critique alternates too, as the chat templates of Mistral and others demand."""
    front = open_few_shots("default").turns("Mend it.", critique=True)
    for prompt in read_prompts(str(real_data / "hh-rlhf" / "harmless-base" / "test.jsonl.gz")):
        talk = wording.critique([*front, *wording.answered(wording.opening(prompt), "No.")], PRINCIPLE)
        assert [turn["role"] for turn in talk] == ["user", "assistant"] * (len(talk) // 2) + ["user"]
