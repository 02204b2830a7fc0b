"""Labels are the mean over orders, principles and thoughts; swapping mirrors them; every pair is made exactly once."""

import asyncio
import json
import os
import random
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import opinion
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from opinion import Opinion, share

from cai_lightning.callbacks.recording import RecordListener, Sink
from cai_lightning.data.labelled import Pair, Preference
from cai_lightning.engines import RecordedEngine, Sampling, ScriptedEngine, TransformersEngine
from cai_lightning.modules import AIFeedback
from cai_lightning.principles import wording
from cai_lightning.principles.preferences import open_comparisons, open_preferences
from cai_lightning.run import jsonl, manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Prompt, assistant, user

PROMPT = Prompt("0123456789abcdef", "How do I pick a lock?")
PRINCIPLES = open_preferences("default").principles
PAIR = Pair(f"{PROMPT.id}.p0", PROMPT.prompt, "Yes.", "No!", ["stop"] * 2, "m", None, "Opinion", {}, 42, "now")


@pytest.fixture(autouse=True)
def afresh():
    opinion.calls.clear()
    opinion.failing.clear()
    opinion.ended_at = 0


class Ledger(RecordListener):
    def __init__(self):
        self.records = []

    def on_record(self, record):
        self.records.append(record)

    def of(self, kind):
        return {record.id: record for record in self.records if isinstance(record, kind)}


def labelled(pair, **settings):
    """The label of a pair by an engine that serves already."""
    made = AIFeedback(settings.pop("engine", None) or Opinion(), **settings)
    made.reader.serving = True
    return asyncio.run(made.label(pair))


def drawn(id, count=1, seed=42):
    return random.Random(f"{seed}:{id}:principles").sample(PRINCIPLES, count)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(texts, texts, st.integers(1, 16), st.floats(-2, 2), st.integers(0, 99))
def test_a_label_is_the_mean_over_principles_of_both_orders(first, second, count, bias, seed):
    pair = replace(PAIR, first=first, second=second)
    row = labelled(pair, engine=Opinion(bias=bias), principles=count, seed=seed)
    if first == second:
        assert (row.labels, row.probability) == ([], 0.5)
        return
    expected = []
    for principle, label in zip(drawn(PAIR.id, count, seed), row.labels, strict=True):
        forth, back = (share(*both, principle.question, bias) for both in ((first, second), (second, first)))
        expected.append(0.5 * (forth + 1 - back))
        assert label.principle_id == principle.id
        assert label.position_bias == pytest.approx((forth + back) / 2 - 0.5, abs=1e-12)
        assert [(reading.share, reading.mass) for reading in label.readings] == [
            (pytest.approx(forth, abs=1e-12), 0.75),
            (pytest.approx(back, abs=1e-12), 0.75),
        ]
    assert row.probability == pytest.approx(fmean(expected), abs=1e-12)


@given(texts, texts, st.floats(-2, 2), st.integers(0, 3))
def test_swapping_the_responses_mirrors_the_label_exactly(first, second, bias, chains):
    pair = replace(PAIR, first=first, second=second)
    settings = {"principles": 3, "chain_of_thought": chains}
    one = labelled(pair, engine=Opinion(bias=bias, same=True), **settings)
    other = labelled(replace(pair, first=second, second=first), engine=Opinion(bias=bias, same=True), **settings)
    assert one.probability == pytest.approx(1 - other.probability, abs=1e-12)
    for label, swapped in zip(one.labels, other.labels, strict=True):
        assert label.first_shown_first == swapped.second_shown_first
        assert label.position_bias == swapped.position_bias


def test_the_question_is_worded_as_the_papers_in_both_orders():
    engine, turns = Opinion(), [user("Hi"), assistant("Hello."), user("Why?")]
    labelled(replace(PAIR, prompt="Why?", turns=turns), engine=engine)
    question = drawn(PAIR.id)[0].question
    assert engine.asked == [
        wording.preference(turns, question, "Yes.", "No!"),
        wording.preference(turns, question, "No!", "Yes."),
    ]


@pytest.mark.parametrize("chains", [0, 2])
def test_examples_stand_in_front_and_are_the_same_for_all(chains):
    engine = Opinion()
    row = labelled(PAIR, engine=engine, few_shots="default", chain_of_thought=chains)
    other = labelled(replace(PAIR, id="x.p0"), engine=engine, few_shots="default", chain_of_thought=chains)
    examples = open_comparisons("default", chains > 0)
    front = examples.turns(PRINCIPLES)
    assert len(front) == len(examples.examples) * (4 if chains else 2)
    assert all(talk[: len(front)] == front for talk in engine.asked)
    assert row.few_shots == other.few_shots == {"name": "default", "digest": examples.digest}


def test_answers_behind_chains_of_thought_are_averaged():
    engine = Opinion()
    row = labelled(PAIR, engine=engine, chain_of_thought=5)
    principle, label = drawn(PAIR.id)[0], row.labels[0]
    for readings, pair, order in (
        (label.first_shown_first, ("Yes.", "No!"), "forth"),
        (label.second_shown_first, ("No!", "Yes."), "back"),
    ):
        thoughts = [f"words of 42:{PAIR.id}:thought {principle.id} {order} {n}" for n in range(5)]
        assert [reading.thought for reading in readings] == thoughts
        expected = [share(*pair, principle.question, 0.3, thought) for thought in thoughts]
        assert [reading.share for reading in readings] == pytest.approx(expected, abs=1e-12)
    asked = wording.preference([user(PROMPT.prompt)], principle.question, "Yes.", "No!", reasoned=True)
    assert engine.asked[0] == asked
    assert engine.asked[1] == [*asked, assistant(label.first_shown_first[0].thought), user("So the answer is:")]
    forth, back = (fmean(r.share for r in each) for each in (label.first_shown_first, label.second_shown_first))
    assert row.probability == pytest.approx(0.5 * (forth + 1 - back), abs=1e-12)
    assert row.feedback["sampling"] == asdict(Sampling(temperature=1.0))


def make(engine, prompts=(PROMPT,), **settings):
    made, ledger = AIFeedback(engine, **settings), Ledger()
    made.sink = Sink(ledger)
    made.make([pair for prompt in prompts for pair in made.pairs_of(prompt)])
    return ledger


def test_responses_are_paired_in_their_order_and_the_row_says_everything():
    ledger = make(Opinion(), responses=4)
    for number, (id, row) in enumerate(ledger.of(Preference).items()):
        assert id == f"{PROMPT.id}.p{number}"
        assert (row.first, row.second) == tuple(f"words of 42:{id}:response {n}" for n in range(2))
        assert (row.prompt, row.finish_reasons) == (PROMPT.prompt, ["stop", "length"])
        assert (row.model, row.engine, row.adapter, row.seed) == ("opinion", "Opinion", None, 42)
        assert row.sampling == asdict(Sampling(temperature=1.0))
        assert row.feedback == {"model": "opinion", "engine": "Opinion", "adapter": None, "chain_of_thought": 0}
        assert row.constitution == {"name": "default", "digest": open_preferences("default").digest}
        assert row.few_shots is None
    assert len(ledger.of(Preference)) == len(ledger.of(Pair)) == 2


def test_a_pair_does_not_depend_on_how_many_there_are():
    few, many = make(Opinion()).of(Preference), make(Opinion(), responses=6).of(Preference)
    assert {id: replace(row, created="") for id, row in many.items() if id in few} == {
        id: replace(row, created="") for id, row in few.items()
    }


def test_identical_responses_are_not_asked_about():
    rows = make(Opinion(same=True)).of(Preference)
    assert [(row.labels, row.probability) for row in rows.values()] == [([], 0.5)]
    assert not any(call == "choose" for _, call, _ in opinion.calls)


def test_one_engine_is_started_once_and_of_two_only_one_serves_at_a_time():
    prompts = [replace(PROMPT, id=str(n)) for n in range(9)]
    make(Opinion(), prompts)
    assert [call for _, call, _ in opinion.calls if call in ("start", "stop")] == ["start", "stop"]
    opinion.calls.clear()
    rows = make(Opinion("policy"), prompts, feedback=Opinion("judge")).of(Preference)
    done = [(model, call) for model, call, _ in opinion.calls]
    assert [each for each, after in pairwise([*done, None]) if each != after] == [
        *((("policy", call)) for call in ("start", "reply", "stop")),
        *((("judge", call)) for call in ("start", "choose", "stop")),
    ]
    assert {(row.model, row.feedback["model"]) for row in rows.values()} == {("policy", "judge")}


def test_an_engine_that_may_not_tell_probabilities_is_asked_before_the_first_response():
    for settings in (
        {"engine": Opinion("judge", tells=None)},
        {"engine": Opinion(), "feedback": Opinion("judge", tells=None)},
    ):
        opinion.calls.clear()
        make(**settings)
        first = next(place for place, (_, call, _) in enumerate(opinion.calls) if call == "reply")
        assert [call for _, call, _ in opinion.calls[:first] if call == "choose"] == ["choose"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feedback": RecordedEngine("x.jsonl")}, r"RecordedEngine \(x.jsonl:revision\) tells no probabilities"),
        ({"responses": 3}, "responses: an even number from 2 on expected, found 3"),
        ({"responses": 0}, "found 0"),
        ({"principles": 0}, "principles >= 1 expected, found 0"),
        ({"chain_of_thought": -1}, "chain_of_thought >= 0 expected, found -1"),
        ({"tries": 0}, "tries >= 1 expected, found 0"),
        ({"engine": Opinion(temperature=0.0)}, "temperature: 0 makes all responses to a prompt the same"),
        ({"feedback": Opinion(temperature=0.0), "chain_of_thought": 2}, "2 chains would all be the same"),
    ],
)
def test_what_has_no_meaning_is_refused_before_any_work(settings, message):
    with pytest.raises(ValueError, match=message):
        AIFeedback(**{"engine": Opinion()} | settings)


def test_what_transformers_batches_tells_no_probabilities(tiny_model):
    with pytest.raises(ValueError, match=r"TransformersEngine .* tells no probabilities to label by"):
        AIFeedback(TransformersEngine(str(tiny_model), batching="paged"))


def test_a_scripted_engine_can_label():
    row = labelled(PAIR, engine=ScriptedEngine(["(A)", "(B)"]))
    assert row.probability == 1.0


@pytest.fixture
def feedback(experiment):
    """The experiment with pairs of an engine that costs no time."""
    init = {"engine": {"class_path": "opinion.Opinion"}}
    experiment.sections["predict"]["model"] = {"class_path": "cai_lightning.modules.AIFeedback", "init_args": init}
    experiment.save()
    return experiment


def rows(experiment, name="preferences.jsonl"):
    return {row["id"]: row | {"created": ""} for row in experiment.rows(name)}


def test_a_run_is_written_in_the_order_of_the_prompts_and_says_how_it_went(feedback, capsys, caplog):
    with caplog.at_level("INFO"):
        assert feedback("predict", "--data.limit", 3, "--model.responses", 4) == 0
    prompts = list(dict.fromkeys(row["prompt"] for row in feedback.rows("preferences.jsonl")))
    assert [row["id"][-3:] for row in feedback.rows("preferences.jsonl")] == [".p0", ".p1"] * 3
    assert len(prompts) == 3
    assert not (feedback.run / "pairs.jsonl").exists()
    assert f"the preferences are in {feedback.run / 'preferences.jsonl'}" in caplog.text
    assert "cut at their limit of tokens: 6 of 12 responses (50 %)" in caplog.text
    assert "not asked about: none of 6 pairs; mass of both answers below 0.5: none of 12 readings" in caplog.text
    assert "labels: 6/6 rows" in capsys.readouterr().err


def test_pairs_can_be_added(feedback):
    assert feedback("predict", "--data.limit", 2) == 0
    before = feedback.rows("preferences.jsonl")
    assert feedback("predict", "--data.limit", 3, "--model.responses", 6) == 0
    after = {row["id"]: row for row in feedback.rows("preferences.jsonl")}
    assert len(after) == 9
    assert all(after[row["id"]] == row for row in before)
    assert [id[-1] for id in after] == list("012") * 3


@pytest.mark.parametrize(
    "judge", [None, {"class_path": "opinion.Opinion", "init_args": {"model": "judge", "tells": None}}]
)
@pytest.mark.slow
def test_a_run_that_is_ended_at_any_call_makes_every_pair_exactly_once(feedback, judge, tmp_path):
    feedback.sections["predict"]["model"]["init_args"] |= {"feedback": judge, "chain_of_thought": 1}
    feedback.save()
    arguments = ("predict", "--data.limit", 2)
    assert feedback(*arguments) == 0
    whole, number = rows(feedback), sum(call != "stop" for _, call, _ in opinion.calls)
    assert len(whole) == 2
    for end in range(1, number + 1):
        feedback.run = tmp_path / f"ended{end}"
        opinion.calls.clear()
        opinion.ended_at = end
        status = feedback(*arguments)
        opinion.ended_at = 0
        kept = jsonl.read(feedback.run / "pairs.jsonl").keys() | jsonl.read(feedback.run / "preferences.jsonl").keys()
        labels = jsonl.read(feedback.run / "preferences.jsonl")
        opinion.calls.clear()
        assert status == 9
        assert feedback(*arguments) == 0
        again = [seed.split(":")[1] for _, call, seed in opinion.calls if call == "reply"]
        replied = [seed for _, call, seed in opinion.calls if call == "reply"]
        assert len(replied) == len(set(replied))
        assert not {seed.split(":")[1] for seed in replied if ":response" in seed} & kept, (
            "a kept response is drawn again"
        )
        assert not set(again) & labels.keys(), "a pair that has its labels is asked about again"
        assert rows(feedback) == whole
        assert len(feedback.rows("preferences.jsonl")) == 2
        assert not [*feedback.run.glob("[a-z]*.rank*"), *feedback.run.glob("pairs.jsonl")]


@pytest.mark.parametrize(("failing", "stage"), [("response 1", "response"), ("choose", "label")])
def test_what_fails_is_told_and_tried_again(feedback, failing, stage, capsys):
    assert feedback("predict", "--data.limit", 1) == 0
    opinion.failing.add(failing)
    assert feedback("predict", "--data.limit", 4) == 1
    assert "3 of the 3 rows tried failed" in capsys.readouterr().err
    failures = feedback.rows("failed.jsonl")
    assert [(row["stage"], row["reason"]) for row in failures] == [(stage, "the server answers 500")] * 3
    assert (feedback.run / "pairs.jsonl").exists() == (stage == "label")
    opinion.failing.clear()
    assert feedback("predict", "--data.limit", 4) == 0
    assert len(rows(feedback)) == 4
    assert not [*feedback.run.glob("failed.jsonl"), *feedback.run.glob("pairs.jsonl")]


def test_other_settings_are_refused_and_other_pairs_are_not(feedback, capsys):
    assert feedback("predict", "--data.limit", 1) == 0
    for name, value, key in (
        ("few_shots", "default", "digest of few-shots"),
        ("principles", 2, "model.principles"),
        ("chain_of_thought", 1, "model.chain_of_thought"),
        ("seed", 7, "model.seed"),
    ):
        assert feedback("predict", "--data.limit", 1, f"--model.{name}", value) == 1
        assert key in capsys.readouterr().err
    assert feedback("predict", "--model.principles", 17, "--fresh") == 1
    assert "17 for each pair, but there are only 16 in default" in capsys.readouterr().err


def test_sampling_that_is_not_the_policys_own_is_told(feedback, caplog):
    feedback.sections["predict"]["model"]["init_args"]["engine"]["init_args"] = {"temperature": 0.7}
    feedback.save()
    assert feedback("predict", "--data.limit", 1) == 0
    assert "temperature 0.7: the paper draws from the policy itself, at temperature 1" in caplog.text


def test_a_dry_run_counts_pairs_and_writes_nothing(feedback, capsys):
    assert feedback("predict", "--dry-run", "--model.responses", 4, "--data.limit", 10) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "dry run: 20 of 20 rows are to be made" in shown
    assert "prompt tokens 28 560" in shown  # two replies to nine tokens, two choices behind five
    assert "written tokens 6 120" in shown
    assert "Measured on 4 rows in flight together" in shown
    assert not feedback.run.exists()


def test_a_missing_adapter_is_named(feedback, capsys):
    assert feedback("predict", "--model.adapter", "nowhere") == 1
    assert "nowhere: no adapter there. Run fit of its run first" in capsys.readouterr().err


def test_a_real_model_labels_as_its_own_probabilities_say(feedback, tiny_model, tmp_path):
    engine = {
        "class_path": "cai_lightning.engines.TransformersEngine",
        "init_args": {"model": str(tiny_model), "dtype": "float32", "sampling": {"max_new_tokens": 4}},
    }
    example = {"prompt": "May I?", "first": "Yes.", "second": "No!", "answer": "(A)"}
    (tmp_path / "shots.json").write_text(json.dumps({"name": "x", "comparisons": [example]}))
    shots = str(tmp_path / "shots.json")
    feedback.sections["predict"]["model"]["init_args"] = {"engine": engine, "few_shots": shots}
    feedback.save()
    assert feedback("predict", "--data.limit", 3) == 0
    found = list(jsonl.read_records(feedback.run / "preferences.jsonl", Preference).values())
    served = TransformersEngine(str(tiny_model), dtype="float32")
    served.start(torch.device("cpu"))
    front = open_comparisons(shots, False).turns(PRINCIPLES)
    for row in found:
        for label in row.labels:
            question = next(p.question for p in PRINCIPLES if p.id == label.principle_id)
            for reading, pair in zip(label.readings, ((row.first, row.second), (row.second, row.first)), strict=True):
                asked = [*front, *wording.preference([user(row.prompt)], question, *pair)]
                choice = asyncio.run(served.choose(asked, ("(A)", "(B)")))
                assert (reading.share, reading.mass) == pytest.approx((choice.shares[0], choice.mass), abs=1e-4)
    assert any(row.labels for row in found)


@pytest.mark.parametrize("judge", [None, {"class_path": "opinion.Opinion", "init_args": {"tells": None}}])
def test_a_server_that_tells_no_probabilities_ends_it_before_the_first_response(feedback, judge, monkeypatch, capsys):
    async def choose(self, conversation, options):
        raise UserError("this server does not tell probabilities")

    monkeypatch.setattr(Opinion, "choose", choose)
    feedback.sections["predict"]["model"]["init_args"] |= {"feedback": judge}
    feedback.sections["predict"]["model"]["init_args"]["engine"]["init_args"] = {"tells": None}
    feedback.save()
    assert feedback("predict") == 1
    assert "error: this server does not tell probabilities" in capsys.readouterr().err
    assert not [call for _, call, _ in opinion.calls if call == "reply"]


def test_the_policy_has_the_adapter_and_another_feedback_model_has_none(feedback, tmp_path, capsys):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "weights").write_text("1")
    judge = {"class_path": "opinion.Opinion", "init_args": {"model": "judge"}}
    feedback.sections["predict"]["model"]["init_args"] |= {"adapter": str(adapter)}
    feedback.save()
    assert feedback("predict", "--data.limit", 1) == 0
    digest = manifest.folder_digest(adapter)
    assert [(row["adapter"], row["feedback"]["adapter"]) for row in feedback.rows("preferences.jsonl")] == [
        (digest, digest)
    ]
    (adapter / "weights").write_text("2")
    assert feedback("predict", "--data.limit", 2) == 1
    assert "digest of adapter" in capsys.readouterr().err
    feedback.sections["predict"]["model"]["init_args"] |= {"feedback": judge}
    feedback.save()
    opinion.calls.clear()
    assert feedback("predict", "--data.limit", 1, "--fresh") == 0
    assert [(model, of) for model, call, of in opinion.calls if call == "start"] == [
        ("opinion", str(adapter)),
        ("judge", "None"),
    ]
    assert feedback.rows("preferences.jsonl")[0]["feedback"]["adapter"] is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_make_what_one_does(feedback, tmp_path):
    assert feedback("predict", "--data.limit", 7, "--model.responses", 4) == 0
    one, feedback.run = rows(feedback), tmp_path / "two"
    arguments = feedback.arguments("predict", "--data.limit", 7, "--model.responses", 4, "--trainer.devices", 2)
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "cai_lightning", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(rows(feedback).items()) == list(one.items())
