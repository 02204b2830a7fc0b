"""A policy learns from what its own answers are worth: through the command line, in miniature."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest
import torch
from safetensors.torch import load_file

SETTINGS = {
    "class_path": "cai_lightning.modules.GRPO",
    "init_args": {
        "base_dtype": "float32",
        "learning_rate": 0.01,
        "lora": {"r": 4},
        "rewards": [{"metric": {"class_path": "answers.Characters"}}],
        "answers": 4,
        "sampling": {"max_new_tokens": 12},
        "cut_replies": "learn",
    },
}
STEPS = {"max_epochs": -1, "max_steps": 4, "log_every_n_steps": 1, "val_check_interval": 2, "num_sanity_val_steps": 0}


@pytest.fixture
def learning(experiment, tiny_model, prompts_file):
    """A policy that is rewarded for characters, four steps of two prompts with four answers each."""
    fit = experiment.sections["fit"]
    fit["model"] = json.loads(json.dumps(SETTINGS))
    fit["model"]["init_args"]["model"] = str(tiny_model)
    data = {"prompts": str(prompts_file), "batch_size": 2}
    fit["data"] = {"class_path": "cai_lightning.data.TrainingPrompts", "init_args": data}
    fit["trainer"] |= STEPS
    experiment.save()
    return experiment


def change(learning, **settings):
    learning.sections["fit"]["model"]["init_args"] |= settings
    learning.save()


def adapter(learning):
    """What is trained, at the end of the training."""
    return torch.load(learning.run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def samples(learning):
    rows = learning.rows("samples.jsonl")
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], **tolerance)


def test_it_learns_is_measured_and_keeps_every_answer(learning, caplog):
    with caplog.at_level("INFO"):
        assert learning("fit") == 0
    assert "31 to learn on, 2 a step, and 2 to validate on; 0 left out" in caplog.text
    assert "M of them trained\nmemory: about" in caplog.text
    rows = list(samples(learning).values())
    learned = [row for row in rows if row["part"] == "train"]
    assert (len(learned), len(rows)) == (4 * 2 * 4, 4 * 2 * 4 + 2 * 2)
    assert {row["step"] for row in learned} == {0, 1, 2, 3}
    assert all(row["reward"] == len(row["response"]) for row in rows)
    for step, reward in enumerate(learning.logged("train_reward")):
        assert reward == pytest.approx(fmean(row["reward"] for row in learned if row["step"] == step))
    for name in ("entropy", "length", "cut", "unscored", "no_spread", "kl"):
        assert len(learning.logged(f"train_{name}")) == 4
    assert all(
        seconds > 0 for name in ("generation", "scoring", "update") for seconds in learning.logged(f"seconds_{name}")
    )
    kept = json.loads((learning.run / "fit.json").read_text())["kept"]
    rewards = learning.logged("val_reward")
    assert kept["step"] == 2 * (1 + rewards.index(max(rewards)))
    assert load_file(learning.run / "adapter" / "adapter_model.safetensors").keys()


def test_the_policy_is_its_start_at_first_and_pays_for_leaving_it(learning):
    assert learning("fit") == 0
    divergence = learning.logged("train_kl")
    assert divergence[0] == pytest.approx(0, abs=1e-6)
    assert learning.logged("train_loss")[0] == pytest.approx(0, abs=1e-6)  # with r = 1, and advantages that add up to 0
    assert all(loss > 0 for loss in learning.logged("val_loss"))


@pytest.mark.slow
def test_where_length_is_rewarded_answers_become_longer(learning):
    change(learning, answers=8, beta=0.0)
    assert learning("fit", "--trainer.max_steps", 24, "--data.batch_size", 4, "--trainer.val_check_interval", 6) == 0
    rewards = learning.logged("train_reward")
    assert fmean(rewards[-4:]) > 1.2 * fmean(rewards[:4])
    assert max(learning.logged("val_reward")) > 1.2 * fmean(rewards[:4])


@pytest.mark.slow
def test_what_is_better_where_it_is_lower_makes_them_shorter(learning):
    change(learning, answers=8, beta=0.0)
    change(learning, rewards=[{"metric": {"class_path": "answers.Characters", "init_args": {"direction": "lower"}}}])
    assert learning("fit", "--trainer.max_steps", 24, "--data.batch_size", 4) == 0
    rewards = learning.logged("train_reward")
    assert rewards[0] < 0
    assert fmean(rewards[-4:]) > 0.9 * fmean(rewards[:4])


def test_equal_rewards_teach_nothing_and_the_divergence_alone_does(learning):
    change(learning, rewards=[{"metric": {"class_path": "answers.Same"}}], beta=0.0)
    assert learning("fit") == 0
    assert learning.logged("grad_norm") == [0, 0, 0, 0]
    assert learning.logged("train_no_spread") == [1, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("packing", ["true", "false"])
def test_one_step_in_four_batches_is_one_in_one(learning, packing):
    found = []
    for batches in (1, 4):
        learning.run = learning.run.with_name(f"in_{batches}")
        interval = {"accumulate_grad_batches": batches, "val_check_interval": 2 * batches}
        overrides = [word for name, value in interval.items() for word in (f"--trainer.{name}", value)]
        assert learning("fit", *overrides, "--data.packing", packing) == 0
        found.append((adapter(learning), {id: row["response"] for id, row in samples(learning).items()}))
    assert found[0][1] == found[1][1]
    same(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)


def test_a_validation_in_the_midst_of_a_step_changes_nothing_that_is_learned(learning):
    found = []
    for batches in (2, 3):
        learning.run = learning.run.with_name(f"validated_after_{batches}")
        words = ("--trainer.accumulate_grad_batches", 2, "--trainer.val_check_interval", batches)
        assert learning("fit", *words) == 0
        learned = {id: row["response"] for id, row in samples(learning).items() if row["part"] == "train"}
        found.append((adapter(learning), learned))
    assert found[0][1] == found[1][1]
    same(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)


def test_other_data_than_prompts_is_refused(learning, caplog, capsys):
    learning.sections["fit"]["data"] = {"class_path": "cai_lightning.data.RevisionData", "init_args": {}}
    learning.save()
    learning.write_revisions()
    assert learning("fit") == 1
    assert "take data.TrainingPrompts" in capsys.readouterr().err


@pytest.mark.slow
def test_shared_prompts_change_nothing(learning):
    for packing in ("true", "false"):
        learning.run = learning.run.with_name(f"packing_{packing}")
        assert learning("fit", "--data.packing", packing) == 0
    padded = adapter(learning)
    learning.run = learning.run.with_name("packing_true")
    same(adapter(learning), padded, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_stopped_at_any_step_it_goes_on_with_the_same_answers_and_weights(learning):
    """An answer is kept once, though it is drawn anew where a step had not been finished."""
    whole = learning.run
    assert learning("fit", "--trainer.max_steps", 6) == 0
    expected, answers = adapter(learning), samples(learning)
    for step in (1, 3, 4):
        learning.run = whole.with_name(f"stopped_at_{step}")
        trainer = learning.sections["fit"]["trainer"]
        trainer["callbacks"] = [{"class_path": "outside.Stopped", "init_args": {"step": step}}]
        learning.save()
        assert learning("fit", "--trainer.max_steps", 6, "--checkpoint_every", 2) == 9
        del trainer["callbacks"]
        learning.save()
        assert learning("fit", "--trainer.max_steps", 6, "--checkpoint_every", 2) == 0
        assert samples(learning) == answers
        same(adapter(learning), expected, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_scored_is_counted_and_moves_nobody(learning):
    bread = {"class_path": "answers.Characters", "init_args": {"scores_bread": False}}
    change(learning, rewards=[{"metric": bread}], beta=0.0)
    assert learning("fit", "--data.batch_size", 8) == 0
    rows = [row for row in samples(learning).values() if row["part"] == "train"]
    unscored = [row for row in rows if row["reward"] is None]
    assert {(row["reason"], row["advantage"]) for row in unscored} >= {("about bread", 0.0)}
    assert {row["advantage"] for row in unscored} == {0.0}
    assert all("bread" in row["prompt"] or not row["response"] for row in unscored)
    assert all(row["reason"] is None and "bread" not in row["prompt"] for row in rows if row not in unscored)
    for step, share in enumerate(learning.logged("train_unscored")):
        assert share == pytest.approx(fmean(row["reward"] is None for row in rows if row["step"] == step))
    assert not any(map(math.isnan, learning.logged("train_reward")))


def test_cut_answers_are_masked_and_left_out_of_the_mean(learning):
    change(learning, cut_replies="mask", sampling={"max_new_tokens": 96}, answers=8)
    assert learning("fit", "--trainer.max_steps", 2) == 0
    rows = [row for row in samples(learning).values() if row["part"] == "train"]
    cut = [row for row in rows if row["finish_reason"] == "length"]
    assert 0 < len(cut) < len(rows)
    assert {row["advantage"] for row in cut} == {0.0}
    assert any(row["advantage"] for row in rows)
    groups = {}
    for row in rows:
        groups.setdefault((row["step"], row["prompt_id"]), []).append(row)
    for group in groups.values():
        assert sum(row["advantage"] for row in group) == pytest.approx(0, abs=1e-9)


def test_where_all_is_cut_nothing_is_learned(learning):
    change(learning, cut_replies="mask", sampling={"max_new_tokens": 2})
    assert learning("fit", "--trainer.max_steps", 2) == 0
    assert learning.logged("train_cut") == [1, 1]
    assert learning.logged("grad_norm") == [0, 0]


def test_rewards_are_added_up_by_their_weights(learning):
    named = {"class_path": "answers.Characters", "init_args": {"name": "again"}}
    change(learning, rewards=[{"metric": {"class_path": "answers.Characters"}, "weight": 0.5}, {"metric": named}])
    assert learning("fit", "--trainer.max_steps", 2) == 0
    for row in samples(learning).values():
        assert row["rewards"] == {"characters": len(row["response"]), "again": len(row["response"])}
        assert row["reward"] == pytest.approx(1.5 * len(row["response"]))
    assert learning.logged("train_reward_again") == learning.logged("train_reward_characters")


def test_a_feedback_model_rewards_directly(learning, tiny_model):
    engine = {"class_path": "cai_lightning.engines.TransformersEngine", "init_args": {"model": str(tiny_model)}}
    rating = {"class_path": "cai_lightning.metrics.AIRating", "init_args": {"engine": engine}}
    change(learning, rewards=[{"metric": rating}])
    assert learning("fit", "--trainer.max_steps", 2) == 0
    rewards = [row["reward"] for row in samples(learning).values() if row["reason"] is None]
    assert all(0 < reward < 1 for reward in rewards)
    assert len(set(rewards)) > 1
    settings = json.loads((learning.run / "fit.json").read_text())["settings"]
    assert settings["model.rewards.0.metric.engine.model"] == str(tiny_model)
    assert settings["digest of reward ai_rating"]


def test_it_starts_from_an_adapter_and_refers_to_that_not_to_the_base(learning):
    assert learning("fit") == 0
    first = learning.run / "adapter"
    learning.run = learning.run.with_name("second")
    assert learning("fit", "--model.adapter", first, "--trainer.max_steps", 2) == 0
    assert learning.logged("train_kl")[0] == pytest.approx(0, abs=1e-6)
    assert learning.logged("train_kl")[1] > 1e-3


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"sampling": {"top_p": 0.9}}, "model.sampling.top_p: 0.9"),
        ({"sampling": {"temperature": 0.7}}, "model.sampling.temperature: 0.7"),
        ({"sampling": {"top_k": 20}}, "model.sampling.top_k: 20"),
        ({"sampling": {"min_p": 0.1}}, "model.sampling.min_p: 0.1"),
        ({"sampling": {"repetition_penalty": 1.1}}, "model.sampling.repetition_penalty: 1.1"),
        ({"answers": 1}, "model.answers: at least 2"),
        ({"beta": -1.0}, "model.beta: must be at least 0"),
        ({"floor": 0.0}, "model.floor: must be above 0"),
        ({"rewards": []}, "model.rewards: at least one expected"),
        ({"rewards": 2 * [{"metric": {"class_path": "answers.Same"}}]}, "each with a column of its own"),
        ({"rewards": [{"metric": {"class_path": "answers.Same"}, "columns": ["other"]}]}, "'other' is none"),
    ],
)
def test_what_would_mislead_is_refused_in_one_line(learning, capsys, settings, why):
    change(learning, **settings)
    assert learning("fit") in (1, 2)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert why in error
    assert not (learning.run / "samples.jsonl").exists()


def test_other_settings_do_not_go_on_with_a_run(learning, capsys):
    assert learning("fit", "--trainer.max_steps", 2) == 0
    assert learning("fit", "--trainer.max_steps", 2, "--model.beta", 0.5) == 1
    assert "model.beta = 0.02, now it is 0.5" in capsys.readouterr().err
    assert learning("fit", "--trainer.max_steps", 2, "--model.beta", 0.5, "--fresh") == 0
    assert (learning.run / "before-1" / "samples.jsonl").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_learn_what_one_does(learning, tmp_path):
    assert learning("fit") == 0
    expected, answers, logged = adapter(learning), samples(learning), learning.logged("train_reward")
    learning.run = tmp_path / "two"
    command = learning.arguments("fit", "--trainer.devices", 2, "--trainer.strategy", "ddp")
    paths = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parent), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-m", "cai_lightning", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {id: row["response"] for id, row in samples(learning).items()} == {
        id: row["response"] for id, row in answers.items()
    }
    same(adapter(learning), expected, atol=1e-5, rtol=1e-5)
    assert learning.logged("train_reward") == pytest.approx(logged)
