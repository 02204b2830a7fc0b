"""DPO learns from soft labels against the start of the training, and never against anything else."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from preferences import preference_fit, some_preferences, write_preferences
from safetensors.torch import load_file

from cai_lightning.data.batches import IGNORED, Sizes, apart, plan
from cai_lightning.data.pairs import Comparison, pack_pairs, pad_pairs
from cai_lightning.models.adapters import Lora
from cai_lightning.modules.dpo import REFERENCE, DirectPreferenceOptimization
from cai_lightning.run.records import user

SAID = ["No.", "I will not help with that, sorry.", "Sure, here is how to steal a car. " * 3, "Ask a locksmith."]
LABELS = [1.0, 0.0, 0.5, 0.6, 0.05, 0.97]


@pytest.fixture(scope="module")
def tuning(tiny_model):
    """In float64, with an adapter that is not the identity."""
    module = DirectPreferenceOptimization(str(tiny_model), Lora(r=4), base_dtype="float32")
    module.configure_model()
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return module.double()


@pytest.fixture(scope="module")
def pairs(tuning):
    said = [(SAID[n % 4], SAID[(n * 3 + 1) % 4]) for n in range(len(LABELS))]
    said = [(a, b if a != b else b + " Truly.") for a, b in said]
    return [
        tuning.encode(Comparison(str(n), [user(f"How do I pick {n} locks?")], two, label), 512)
        for n, (two, label) in enumerate(zip(said, LABELS, strict=True))
    ]


def batch_of(pairs, references=None, packed=True):
    references = torch.zeros(len(pairs), 2, dtype=torch.float64) if references is None else references
    if packed:
        return pack_pairs(pairs, len(pairs), references, pairs[0])
    return pad_pairs(pairs, len(pairs), references, pairs[0], 0)


@pytest.fixture(scope="module")
def start(tuning, pairs):
    """The log-probabilities of the pairs where the training starts."""
    with torch.no_grad():
        return tuning.logprobs(batch_of(pairs))


def gradient_of(tuning, loss):
    tuning.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten().clone() for p in tuning.parameters() if p.grad is not None])


@pytest.mark.parametrize("packed", [True, False])
def test_log_probabilities_are_the_models_own_of_the_responses_alone(tuning, pairs, packed):
    found = tuning.logprobs(batch_of(pairs, packed=packed))
    for row, pair in zip(found, pairs, strict=True):
        for value, one in zip(row, apart(pair.examples), strict=True):
            logprobs = tuning.policy(torch.tensor([one.input_ids])).logits[0].log_softmax(-1)
            said = [(place, id) for place, id in enumerate(one.labels) if id != IGNORED]
            own = sum(logprobs[place - 1, id] for place, id in said)
            torch.testing.assert_close(value, own, atol=1e-5, rtol=1e-5)


def test_at_the_start_the_loss_is_log_2_whatever_the_labels(tuning, pairs, start):
    loss, count = tuning.summed_loss(batch_of(pairs, start))
    assert count == len(pairs)
    assert abs(loss.item() / count - math.log(2)) < 1e-6


def test_at_the_start_ipo_is_the_square_of_its_aim(tuning, pairs, start, monkeypatch):
    monkeypatch.setattr(tuning, "loss", "ipo")
    loss, _ = tuning.summed_loss(batch_of(pairs, start))
    assert loss.item() == pytest.approx(sum(((2 * p - 1) / (2 * 0.1)) ** 2 for p in LABELS), rel=1e-6)


def test_against_the_base_it_would_not_be(tuning, pairs, start):
    """What several trainers take for the reference: the policy with its adapter switched off."""
    with tuning.policy.disable_adapter(), torch.no_grad():
        base = tuning.logprobs(batch_of(pairs))
    assert (base - start).abs().min() > 1e-3


@pytest.mark.parametrize("settings", [{}, {"nll": 0.7}, {"loss": "ipo"}, {"per_token": True}])
def test_swapped_with_the_label_turned_it_is_the_same(tuning, pairs, start, settings, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setattr(tuning, name, value)
    references = start - torch.linspace(0, 3, start.numel(), dtype=torch.float64).view_as(start)
    said = [(SAID[0], SAID[2], 0.8), (SAID[3], SAID[1], 0.3)]

    def loss(swapped):
        comparisons = [
            Comparison("x", [user("Hi")], (b, a) if swapped else (a, b), 1 - p if swapped else p) for a, b, p in said
        ]
        known = references[:2].flip(1) if swapped else references[:2]
        return tuning.summed_loss(batch_of([tuning.encode(one, 512) for one in comparisons], known))[0]

    plain, turned = loss(False), loss(True)
    torch.testing.assert_close(turned, plain, atol=1e-6, rtol=1e-6)
    gradients = gradient_of(tuning, turned), gradient_of(tuning, plain)
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()  # norms of the model are in float32


def test_where_it_is_as_it_should_be_there_is_no_gradient(tuning, pairs, start):
    """p = 1/2 at the start; and beta delta = logit p."""
    even = [pair for pair, label in zip(pairs, LABELS, strict=True) if label == 0.5]
    references = start[[label == 0.5 for label in LABELS]]
    assert gradient_of(tuning, tuning.summed_loss(batch_of(even, references))[0]).abs().max() < 1e-5
    (soft,) = [n for n, label in enumerate(LABELS) if label == 0.6]
    aim = math.log(0.6 / 0.4) / tuning.beta
    reference = start[[soft]] - torch.tensor([[aim, 0.0]])
    assert gradient_of(tuning, tuning.summed_loss(batch_of([pairs[soft]], reference))[0]).abs().max() < 1e-5


def test_hard_labels_give_the_loss_that_others_compute(tuning, pairs, start):
    """As TRL words it: -logsigmoid(beta * ((chosen - rejected) - (reference chosen - reference rejected))).mean(),
    with its RPO term, the mean negative log-likelihood a token of the chosen response."""
    hard = [n for n, label in enumerate(LABELS) if label in (0, 1)]
    references = start[hard] + torch.tensor([[1.5, -2.0]])
    batch = batch_of([pairs[n] for n in hard], references)
    with torch.no_grad():
        policy = tuning.logprobs(batch)
    chosen = torch.tensor([0 if LABELS[n] == 1 else 1 for n in hard])
    rows = torch.arange(len(hard))
    ratios = policy[rows, chosen] - policy[rows, 1 - chosen]
    reference_ratios = references[rows, chosen] - references[rows, 1 - chosen]
    expected = -torch.nn.functional.logsigmoid(0.1 * (ratios - reference_ratios)).mean()
    loss, count = tuning.summed_loss(batch)
    torch.testing.assert_close(loss / count, expected, atol=1e-6, rtol=1e-6)
    tokens = torch.tensor([pairs[n].examples[int(c)].supervised for n, c in zip(hard, chosen, strict=True)])
    tuning.nll = 0.3
    try:
        with_nll = tuning.summed_loss(batch)[0] / count
    finally:
        tuning.nll = 0.0
    expected = expected + 0.3 * -(policy[rows, chosen] / tokens).mean()
    torch.testing.assert_close(with_nll, expected, atol=1e-6, rtol=1e-6)


def test_however_a_step_is_accumulated_it_is_one_gradient(tuning, pairs, start, monkeypatch):
    monkeypatch.setattr(tuning, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(tuning, "log_dict", lambda *args, **kwargs: None)
    trainer = SimpleNamespace()
    monkeypatch.setattr(DirectPreferenceOptimization, "trainer", trainer)
    references = start + torch.linspace(-3, 3, start.numel(), dtype=torch.float64).view_as(start)

    def gradient(size, together, world):
        trainer.accumulate_grad_batches, trainer.world_size = together, world
        total = 0
        for share in plan(pairs, Sizes(size, batches_per_step=together, world_size=world), seed=1, epoch=0):
            for planned in share:
                rows = list(planned.rows)
                made = pack_pairs([pairs[n] for n in rows], planned.step_tokens, references[rows], pairs[0])
                loss = tuning.training_step(made, 0) / together  # as Lightning does, over batches and processes
                total = total + gradient_of(tuning, loss) / world
        return total

    whole = gradient(6, 1, 1)
    assert whole.norm() > 0
    for shape in ((1, 6, 1), (2, 3, 1), (3, 2, 1), (3, 1, 2), (1, 3, 2), (4, 1, 2), (2, 1, 4)):
        torch.testing.assert_close(gradient(*shape), whole, atol=1e-6, rtol=1e-4)


@pytest.fixture
def fitting(experiment, prompts_file):
    """DPO that starts from the adapter of another run."""
    experiment.run = experiment.run.with_name("start")
    experiment.write_revisions()
    assert experiment("fit", "--trainer.max_epochs", 1) == 0
    start = experiment.run / "adapter"
    experiment.run = experiment.run.with_name("run")
    preference_fit(experiment, adapter=str(start), learning_rate=1e-3)
    experiment.sections["fit"]["trainer"] |= {"log_every_n_steps": 1}
    experiment.save()
    write_preferences(experiment.run / "preferences.jsonl", some_preferences(prompts_file))
    return experiment


def adapter(experiment):
    return load_file(experiment.run / "adapter" / "adapter_model.safetensors")


def test_fit_begins_at_log_2_and_leans_to_what_is_better(fitting, caplog):
    with caplog.at_level("INFO"):
        assert fitting("fit", "--trainer.max_epochs", 4, "--model.lora.dropout", 0.5) == 0
    assert fitting.logged("train_loss")[0] == pytest.approx(math.log(2), abs=1e-5)
    accuracy, excess = fitting.logged("train_accuracy"), fitting.logged("train_excess")
    assert sum(accuracy[-6:]) > 1.3 * sum(accuracy[:6])
    assert sum(excess[-6:]) < 0.8 * sum(excess[:6])
    for name in ("margin", "chosen", "rejected", "excess", "accuracy"):
        assert len(fitting.logged(f"val_{name}")) == 4
    assert "AI labels: " in caplog.text
    assert "reference: the log-probabilities of " in caplog.text
    before = load_file(fitting.run.with_name("start") / "adapter" / "adapter_model.safetensors")
    assert any(not torch.equal(before[name], value) for name, value in adapter(fitting).items())


@pytest.mark.slow
def test_stopped_at_any_step_it_goes_on_with_the_same_losses_and_reference(fitting, prompts_file):
    whole, trainer = fitting.run, fitting.sections["fit"]["trainer"]
    fitting.sections["fit"]["model"]["init_args"] |= {"lora": {"dropout": 0.2}}
    fitting.save()
    assert fitting("fit") == 0
    expected, weights = fitting.logged("train_loss"), adapter(fitting)
    for step in (1, 5):
        fitting.run = whole.with_name(f"stopped_at_{step}")
        write_preferences(fitting.run / "preferences.jsonl", some_preferences(prompts_file))
        trainer["callbacks"] = [{"class_path": "outside.Stopped", "init_args": {"step": step}}]
        fitting.save()
        assert fitting("fit", "--checkpoint_every", 1) == 9
        reference = (fitting.run / REFERENCE).read_bytes()
        assert reference == (whole / REFERENCE).read_bytes()
        del trainer["callbacks"]
        fitting.save()
        assert fitting("fit", "--checkpoint_every", 1) == 0
        assert fitting.logged("train_loss") == expected
        assert (fitting.run / REFERENCE).read_bytes() == reference
        assert all(torch.equal(value, weights[name]) for name, value in adapter(fitting).items())


@pytest.mark.slow
def test_a_reference_is_never_computed_from_a_trained_policy(fitting, capsys):
    trainer = fitting.sections["fit"]["trainer"]
    trainer["callbacks"] = [{"class_path": "outside.Stopped", "init_args": {"step": 2}}]
    fitting.save()
    assert fitting("fit", "--checkpoint_every", 1) == 9
    del trainer["callbacks"]
    fitting.save()
    (fitting.run / REFERENCE).unlink()
    assert fitting("fit") == 1
    assert "cannot be computed again" in capsys.readouterr().err
    (fitting.run / REFERENCE).write_bytes(b"broken")
    assert fitting("fit") == 1
    assert fitting("fit", "--fresh") == 0
    assert (fitting.run / "before-1" / REFERENCE).exists()


def test_objective_and_data_belong_together(fitting, experiment, capsys):
    sections = fitting.sections["fit"]
    sections["model"]["class_path"] = "cai_lightning.modules.SupervisedFineTuning"
    fitting.save()
    assert fitting("fit") == 1
    assert "SupervisedFineTuning does not learn from pairs" in capsys.readouterr().err
    sections["model"]["class_path"] = "cai_lightning.modules.DirectPreferenceOptimization"
    sections["data"] = {"class_path": "cai_lightning.data.RevisionData"}
    fitting.write_revisions()
    fitting.save()
    assert fitting("fit", "--fresh") == 1
    assert "take data.PreferenceData" in capsys.readouterr().err


def test_its_settings_count_and_are_checked(fitting, capsys):
    assert fitting("fit", "--trainer.max_epochs", 1) == 0
    assert fitting("fit", "--model.beta", 0.2, "--trainer.max_epochs", 1) == 1
    assert "model.beta = 0.1, now it is 0.2" in capsys.readouterr().err
    assert fitting("fit", "--data.labels", "flipped", "--trainer.max_epochs", 1) == 1
    assert "labels" in capsys.readouterr().err
    assert fitting("fit", "--model.beta", 0.0, "--fresh") == 1
    assert "model.beta: a number above 0" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_learn_what_one_does(fitting, tmp_path, prompts_file):
    fitting.sections["fit"]["data"]["init_args"] |= {"batch_size": 3, "max_tokens": 300}
    fitting.save()
    assert fitting("fit", "--trainer.accumulate_grad_batches", 2) == 0
    one, reference = adapter(fitting), load_file(fitting.run / REFERENCE)
    sharded = ["--trainer.strategy", "lightning.pytorch.strategies.ModelParallelStrategy"]
    for option in ("data_parallel_size=2", "tensor_parallel_size=1", "save_distributed_checkpoint=false"):
        sharded += [f"--trainer.strategy.{option}"]
    for name, more in (("replicated", []), ("sharded", sharded)):
        fitting.run = fitting.run.with_name(name)
        write_preferences(fitting.run / "preferences.jsonl", some_preferences(prompts_file))
        command = [sys.executable, "-m", "cai_lightning", *fitting.arguments("fit", "--trainer.devices", 2, *more)]
        paths = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
        assert done.returncode == 0, done.stderr[-8000:]
        torch.testing.assert_close(load_file(fitting.run / REFERENCE), reference, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(adapter(fitting), one, atol=1e-4, rtol=1e-3)
