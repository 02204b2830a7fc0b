"""Several samples of a prompt: ids and random numbers of their own, the same side, one answer in validate."""

import gzip
import json
from types import SimpleNamespace

import pytest

from cai_lightning.data.prompt_data import PromptData
from cai_lightning.data.prompts import Shares, read_prompts


def ids(experiment):
    return [row["id"] for row in experiment.rows("revisions.jsonl")]


@pytest.fixture
def prompts(prompts_file):
    return [prompt.id for prompt in read_prompts(str(prompts_file))]


@pytest.fixture
def scripted(experiment):
    """The experiment with an engine that costs no time."""
    engine = {"class_path": "cai_lightning.engines.ScriptedEngine", "init_args": {"script": ["Sure.", "Bad.", "No."]}}
    for verb in ("predict", "validate"):
        experiment.sections[verb]["model"]["init_args"]["engine"] = engine
    experiment.sections["fit"]["trainer"]["max_epochs"] = 1
    experiment.save()
    return experiment


def test_samples_can_be_added_and_stand_beside_the_first(experiment, prompts):
    assert experiment("predict", "--data.limit", 3) == 0
    first = {row["id"]: row for row in experiment.rows("revisions.jsonl")}
    assert experiment("predict", "--data.limit", 3, "--data.samples", 3) == 0
    assert ids(experiment) == [id + k for id in prompts[:3] for k in ("", ".1", ".2")]
    rows = {row["id"]: row for row in experiment.rows("revisions.jsonl")}
    assert all(rows[id] == row for id, row in first.items())
    for id in prompts[:3]:
        samples = [rows[id + k] for k in ("", ".1", ".2")]
        assert len({row["prompt"] for row in samples}) == 1
        assert len({row["initial_response"] for row in samples}) == 3
    assert len({row["rounds"][0]["principle_id"] for row in rows.values()}) > 3


def test_a_sample_does_not_depend_on_how_many_there_are(experiment, prompts):
    assert experiment("predict", "--data.limit", 2, "--data.samples", 2) == 0
    two = experiment.rows("revisions.jsonl")
    experiment.run = experiment.run.with_name("other")
    assert experiment("predict", "--data.limit", 1, "--data.samples", 4) == 0
    four = experiment.rows("revisions.jsonl")
    answers = [[(row["id"], row["initial_response"], row["revision"]) for row in rows[:2]] for rows in (two, four)]
    assert answers[0] == answers[1]


def test_validate_answers_a_prompt_once(scripted, prompts):
    assert scripted("predict") == 0
    assert scripted("validate", "--data.samples", 2) == 0
    answered = [row["id"] for row in scripted.rows("responses.jsonl")]
    assert set(answered) < set(prompts)
    assert len(set(answered)) == len(answered)
    assert scripted("predict", "--data.samples", 2) == 0
    assert scripted("validate") == 0, "further samples are no other references"


def test_fit_learns_from_all_samples_and_rounds(scripted, capsys, caplog):
    assert scripted("predict", "--data.samples", 2, "--model.revisions", 2) == 0
    assert scripted("fit", "--data.target", "rounds", "--data.limit", 30) == 0
    assert "60 rows with 120 responses read" in caplog.text
    capsys.readouterr()
    assert scripted("fit", "--data.target", "revision", "--data.limit", 30) == 1
    assert "data.target = 'rounds', now it is 'revision'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["limit", "samples"])
def test_none_is_no_number_of_rows(name):
    with pytest.raises(ValueError, match=f"data.{name}: must be ≥ 1, not 0"):
        PromptData("prompts.jsonl", **{name: 0})


def test_references_of_others_are_found_by_their_prompts_whatever_their_ids(tmp_path, prompts_file):
    """A file of references, packed, with ids of its own; a further sample is none."""
    prompts = read_prompts(str(prompts_file))
    rows = [{"id": f"x.{n}-1", "prompt": each.prompt, "revision": f"Answer {n}."} for n, each in enumerate(prompts)]
    rows.insert(0, {**rows[0], "id": "y", "sample": 1, "revision": "Another."})
    path = tmp_path / "references.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    data = PromptData(str(prompts_file), references=path, shares=Shares(test=1.0, validation=0.0))
    data.trainer = SimpleNamespace(default_root_dir=str(tmp_path))
    data.setup("validate")
    assert [test.reference for test in data.tests] == [f"Answer {n}." for n in range(len(prompts))]


def test_records_say_which_sample_of_which_prompt_they_are(experiment, prompts):
    assert experiment("predict", "--data.limit", 2, "--data.samples", 2) == 0
    rows = experiment.rows("revisions.jsonl")
    assert [(row["prompt_id"], row["sample"]) for row in rows] == [(id, n) for id in prompts[:2] for n in (0, 1)]
