"""A preference model learns soft preferences, and scores elsewhere as it did in training."""

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from preferences import BAD, GOOD, preference_fit, some_preferences, write_preferences
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cai_lightning.cli.main import main
from cai_lightning.data.batches import Sizes, apart, plan
from cai_lightning.data.pairs import Comparison, pack_pairs, pad_pairs
from cai_lightning.metrics import RewardModel
from cai_lightning.models.adapters import Lora, load_adapter
from cai_lightning.models.hub import load_model
from cai_lightning.modules.preference_model import BINS, PreferenceModel, residuals
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Response, user

ASKED = "How do I steal a car?"
SAID = [GOOD, BAD, "No.", "No. Never."]
LABELS = [0.8, 1.0, 0.5, 0.3]


def trained(model, **settings):
    """A preference model in float64 whose adapter and head are not the identity."""
    module = PreferenceModel(str(model), base_dtype="float32", **({"lora": Lora(r=4)} | settings))
    module.configure_model()
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        if "lora_B" in name or name == "score.weight":
            torch.nn.init.normal_(parameter, std=0.05)
    return module


@pytest.fixture(scope="module")
def tuning(tiny_model):
    return trained(tiny_model).double()


@pytest.fixture(scope="module")
def pairs(tuning):
    said = [(SAID[n], SAID[(n + 1) % 4]) for n in range(4)]
    return [tuning.encode(Comparison(str(n), [user(ASKED)], two, LABELS[n]), 512) for n, two in enumerate(said)]


def batch_of(pairs, packed=True):
    nothing = torch.zeros(len(pairs), 2)
    return (
        pack_pairs(pairs, len(pairs), nothing, pairs[0])
        if packed
        else pad_pairs(pairs, len(pairs), nothing, pairs[0], 0)
    )


@pytest.mark.parametrize("packed", [True, False])
def test_a_score_is_the_heads_at_the_last_token_of_each_conversation_alone(tuning, pairs, packed):
    found = tuning.scores(batch_of(pairs, packed))
    for row, pair in zip(found, pairs, strict=True):
        for score, one in zip(row, apart(pair.examples), strict=True):
            hidden = tuning.base.base_model(torch.tensor([one.input_ids])).last_hidden_state[0, -1]
            torch.testing.assert_close(score, tuning.score(hidden)[0], atol=1e-5, rtol=1e-5)


def gradient_of(tuning, loss):
    tuning.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten().clone() for p in tuning.parameters() if p.grad is not None])


def test_what_is_added_for_a_prompt_changes_nothing_and_swapping_mirrors(tuning, pairs, monkeypatch):
    loss, count = tuning.summed_loss(batch_of(pairs))
    gradient = gradient_of(tuning, loss)
    assert count == 4
    turned = [
        tuning.encode(Comparison("x", [user(ASKED)], (SAID[(n + 1) % 4], SAID[n]), 1 - LABELS[n]), 512)
        for n in range(4)
    ]
    mirrored = tuning.summed_loss(batch_of(turned))[0]
    torch.testing.assert_close(mirrored, loss, atol=1e-6, rtol=1e-6)
    assert (gradient_of(tuning, mirrored) - gradient).norm() < 1e-5 * gradient.norm()
    plain, offset = PreferenceModel.scores, torch.arange(4.0, dtype=torch.float64)[:, None]
    monkeypatch.setattr(PreferenceModel, "scores", lambda self, batch: plain(self, batch) + 7 * offset)
    shifted = tuning.summed_loss(batch_of(pairs))[0]
    torch.testing.assert_close(shifted, loss, atol=1e-9, rtol=1e-9)
    assert (gradient_of(tuning, shifted) - gradient).norm() < 1e-9 * gradient.norm()


@pytest.mark.slow
def test_however_a_step_is_accumulated_it_is_one_gradient(tuning, pairs, monkeypatch):
    monkeypatch.setattr(tuning, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(tuning, "log_dict", lambda *args, **kwargs: None)
    trainer = SimpleNamespace()
    monkeypatch.setattr(PreferenceModel, "trainer", trainer)

    def gradient(size, together, world):
        trainer.accumulate_grad_batches, trainer.world_size, total = together, world, 0
        for share in plan(pairs, Sizes(size, batches_per_step=together, world_size=world), seed=1, epoch=0):
            for planned in share:
                rows = [pairs[n] for n in planned.rows]
                made = pack_pairs(rows, planned.step_tokens, torch.zeros(len(rows), 2), pairs[0])
                total = total + gradient_of(tuning, tuning.training_step(made, 0) / together) / world
        return total

    whole = gradient(4, 1, 1)
    for shape in ((1, 4, 1), (2, 2, 1), (2, 1, 2), (3, 1, 2), (1, 1, 4), (1, 3, 2)):
        assert (gradient(*shape) - whole).norm() < 1e-5 * whole.norm()


def test_its_calibration_error_is_the_expected_one():
    torch.manual_seed(0)
    predicted, label = torch.rand(500), torch.rand(500)
    expected = 0.0
    for n in range(BINS):
        inside = (predicted >= n / BINS) & (predicted < (n + 1) / BINS)
        expected += float(inside.double().mean() * (predicted[inside].mean() - label[inside].mean()).abs())
    found = residuals(predicted, label).mean(0).abs().sum()
    assert found.item() == pytest.approx(expected, abs=1e-5)
    assert residuals(torch.ones(1), torch.zeros(1))[0, -1] == 1


def scores_in_training(module):
    pair = module.encode(Comparison("x", [user(ASKED)], (GOOD, BAD), 1.0), 512)
    module.eval()
    with torch.no_grad():
        return module.scores(batch_of([pair]))[0].float()


def scores_of(model):
    metric = RewardModel(str(model), layout="chat", self_test="none")
    metric.load(torch.device("cpu"))
    responses = [Response(str(n), ASKED, said, None, "stop", "x", None) for n, said in enumerate((GOOD, BAD))]
    return metric.score(responses).values["helpfulness"]


@pytest.fixture
def padded_alike(tiny_model, tmp_path):
    """The tiny model, whose conversations end in the token that its configuration pads with."""
    folder = shutil.copytree(tiny_model, tmp_path / "alike")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>\\n", "<|im_end|>").replace(
        "<|im_end|>\n", "<|im_end|>"
    )
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": tokenizer.eos_token_id}))
    return folder


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("lora", [Lora(r=4), None])
def test_it_scores_elsewhere_as_it_did_in_training(tiny_model, padded_alike, alike, lora, tmp_path):
    module = trained(padded_alike if alike else tiny_model, lora=lora)
    expected = scores_in_training(module)
    assert (expected[0] - expected[1]).abs() > 0.01
    run = tmp_path / "run"
    module.save(run / module.output, {n: p.detach() for n, p in module.named_parameters() if p.requires_grad})
    if lora is None:
        (run / "fit.json").write_text(
            json.dumps({"verb": "fit", "settings": {"model.model": str(module.model)}, "finished": "now"})
        )
    torch.testing.assert_close(scores_of(run / module.output), expected, atol=1e-4, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(run / module.output)
    talk = [[user(ASKED), {"role": "assistant", "content": said}] for said in (GOOD, BAD)]
    for arguments in ([], ["--merge"]):
        out = tmp_path / f"out{len(arguments)}"
        assert main(["export", str(run), "--output", str(out), *arguments]) in (0, None)
        whole = arguments or lora is None
        theirs = AutoModelForSequenceClassification.from_pretrained(out, **({} if whole else {"num_labels": 1})).eval()
        with torch.no_grad():
            inputs = [tokenizer.apply_chat_template(one, return_tensors="pt", return_dict=True) for one in talk]
            found = torch.stack([theirs(**one).logits[0, 0] for one in inputs])
        torch.testing.assert_close(found.float(), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores_of(out), expected, atol=1e-4, rtol=1e-4)
        card = (out / "README.md").read_text()
        assert "AutoModelForSequenceClassification" in card
        assert "text-classification" in card


def test_peft_loads_it_as_what_it_is(tiny_model, tmp_path):
    module = trained(tiny_model)
    module.save(tmp_path / "adapter", {n: p.detach() for n, p in module.named_parameters() if p.requires_grad})
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    policy = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert torch.equal(policy.get_base_model().score.weight, module.score.weight)


@pytest.fixture
def fitting(experiment, prompts_file):
    preference_fit(experiment, "PreferenceModel", learning_rate=5e-3)
    experiment.sections["fit"]["trainer"] |= {"log_every_n_steps": 1}
    experiment.save()
    write_preferences(experiment.run / "preferences.jsonl", some_preferences(prompts_file))
    return experiment


@pytest.mark.slow
def test_fit_learns_what_is_better_and_leaves_a_reward_model(fitting, capsys):
    assert fitting("fit", "--trainer.max_epochs", 6) == 0
    assert fitting.logged("train_loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    excess = fitting.logged("train_excess")
    assert sum(excess[-6:]) < 0.7 * sum(excess[:6])
    for name in ("excess", "accuracy", "certainty", "calibration"):
        assert len(fitting.logged(f"val_{name}")) == 6
    assert scores_of(fitting.run / "adapter").isfinite().all()
    fitting.write_revisions()
    capsys.readouterr()
    assert fitting("validate", "--model.adapter", "run") == 1
    assert "scores responses and makes none" in capsys.readouterr().err


@pytest.mark.slow
def test_stopped_at_any_step_it_goes_on_with_the_same_losses(fitting, prompts_file):
    whole, trainer = fitting.run, fitting.sections["fit"]["trainer"]
    assert fitting("fit") == 0
    expected = fitting.logged("train_loss")
    weights = load_file(whole / "adapter" / "adapter_model.safetensors")
    fitting.run = whole.with_name("stopped")
    write_preferences(fitting.run / "preferences.jsonl", some_preferences(prompts_file))
    trainer["callbacks"] = [{"class_path": "outside.Stopped", "init_args": {"step": 3}}]
    fitting.save()
    assert fitting("fit", "--checkpoint_every", 1) == 9
    del trainer["callbacks"]
    fitting.save()
    assert fitting("fit", "--checkpoint_every", 1) == 0
    assert fitting.logged("train_loss") == expected
    again = load_file(fitting.run / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in weights.items())


def test_a_preference_models_adapter_answers_nothing(tiny_model, tmp_path):
    module = trained(tiny_model)
    module.save(tmp_path / "adapter", {n: p.detach() for n, p in module.named_parameters() if p.requires_grad})
    with pytest.raises(UserError, match="no LoRA adapter of a language model"):
        PreferenceModel(str(tiny_model), adapter=tmp_path / "adapter")
    with pytest.raises(UserError, match="scores responses and makes none"):
        load_adapter(load_model(str(tiny_model)), tmp_path / "adapter")
