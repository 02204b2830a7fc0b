"""Fine-tuning learns the response's tokens alone, in the adapter alone, and goes on where it was killed."""

import csv
import json
from itertools import combinations

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from cai_lightning import journal
from cai_lightning.data.collate import collate
from cai_lightning.data.corpus import read_corpus
from cai_lightning.data.encoding import IGNORED, encode
from cai_lightning.modules.sft import Lora, SupervisedFineTuning, supervised_loss
from cai_lightning.records import number_ids, user


def test_the_loss_is_the_mean_over_the_supervised_tokens():
    torch.manual_seed(0)
    hidden, head = torch.randn(3, 7, 8), torch.nn.Linear(8, 11)
    labels = torch.randint(0, 11, (3, 7))
    labels[0, :4] = labels[1, 2:] = labels[2, 3] = IGNORED
    logits, total, count = head(hidden), 0.0, 0
    for row in range(3):
        for place in range(1, 7):
            if labels[row, place] != IGNORED:
                total -= logits[row, place - 1].log_softmax(-1)[labels[row, place]].item()
                count += 1
    loss, tokens = supervised_loss(hidden, labels, head)
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    assert tokens == count


@pytest.fixture(scope="module")
def tuning(tiny_model):
    module = SupervisedFineTuning(str(tiny_model), Lora(r=4), base_dtype="float32")
    module.configure_model()
    return module


@pytest.fixture(scope="module")
def batch(tuning):
    talks = [("How do I bake bread?", "I will not."), ("Hi", "Help with that, sorry. " * 5)]
    examples = [encode(tuning.tokenizer, str(n), [user(a)], b, 512) for n, (a, b) in enumerate(talks)]
    return collate(examples, tuning.tokenizer.pad_token_id, expected_tokens=100.0)


def test_the_loss_is_the_models_own(tuning, batch, tiny_model):
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    reference = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)(**inputs).loss
    loss, _ = tuning._loss(batch)
    torch.testing.assert_close(loss, reference, atol=1e-4, rtol=1e-4)


def test_every_token_counts_the_same_in_whatever_batch_it_stands(tuning, monkeypatch):
    """The gradients of 1 x 4, 2 x 2 and 4 x 1 rows agree, and are those of the mean over all tokens."""
    monkeypatch.setattr(tuning, "log", lambda *args, **kwargs: None)
    tokenizer, replies = tuning.tokenizer, ["No.", "No.", "Sure, and here is a long reply. " * 4, "A reply of its own."]
    rows = [encode(tokenizer, str(n), [user("Hi")], reply, 512) for n, reply in enumerate(replies)]
    mean = sum(row.supervised for row in rows) / len(rows)

    def gradient(size):
        tuning.zero_grad()
        for start in range(0, len(rows), size):
            batch = collate(rows[start : start + size], tokenizer.pad_token_id, expected_tokens=mean * size)
            (tuning.training_step(batch, 0) * size / len(rows)).backward()
        return torch.cat([p.grad.flatten() for p in tuning.parameters() if p.grad is not None])

    whole = gradient(4)
    assert whole.norm() > 0
    for size in (1, 2):
        torch.testing.assert_close(gradient(size), whole, atol=1e-6, rtol=1e-4)


def test_only_the_adapter_learns(tuning, batch):
    loss, _ = tuning._loss(batch)
    loss.backward()
    learned = {name for name, parameter in tuning.named_parameters() if parameter.grad is not None}
    assert learned == {name for name, _ in tuning.named_parameters() if "lora_" in name}
    assert len(learned) == 2 * 7 * 2
    assert any(parameter.grad.any() for name, parameter in tuning.named_parameters() if "lora_B" in name)


def test_gradient_checkpointing_changes_no_gradient(batch, tiny_model):
    calls, gradients = [], []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        module = SupervisedFineTuning(
            str(tiny_model), Lora(r=4), base_dtype="float32", gradient_checkpointing=checkpointing
        )
        module.configure_model()
        layer = module.policy.get_base_model().model.layers[0].mlp
        layer.register_forward_pre_hook(lambda *_: calls.append(checkpointing))  # noqa: B023
        module._loss(batch)[0].backward()
        gradients.append({n: p.grad for n, p in module.named_parameters() if p.requires_grad})
    assert calls == [False, True, True]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_checkpoint_lacks_the_base_and_comes_back(tuning, tiny_model):
    checkpoint = {"state_dict": tuning.state_dict()}
    tuning.on_save_checkpoint(checkpoint)
    saved = {name: value.clone() for name, value in checkpoint["state_dict"].items()}
    assert len(saved) == 28
    assert all("lora_" in name for name in saved)
    other = SupervisedFineTuning(str(tiny_model), Lora(r=4), base_dtype="float32")
    other.configure_model()
    other.on_load_checkpoint(checkpoint)
    again = {"state_dict": other.state_dict()}
    other.on_save_checkpoint(again)
    assert all(torch.equal(saved[name], value) for name, value in again["state_dict"].items())


def test_a_checkpoint_of_another_shape_is_refused(tuning):
    with pytest.raises(Exception, match="lacks 28 tensors of the adapter"):
        tuning.on_load_checkpoint({"state_dict": {}})


def losses(experiment, name="val_loss"):
    """What the logs of all starts say, in their order."""
    values = []
    for log in sorted(experiment.run.glob("logs/version_*/metrics.csv")):
        rows = csv.DictReader(log.read_text().splitlines())
        values += [float(row[name]) for row in rows if row.get(name)]
    return values


def test_fit_learns_and_leaves_an_adapter(experiment, tiny_model):
    experiment.write_revisions()
    assert experiment("fit", "--trainer.max_epochs", 4) == 0
    assert losses(experiment)[-1] < 0.5 * losses(experiment)[0]
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    policy = PeftModel.from_pretrained(base, experiment.run / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(experiment.run / "adapter")
    assert tokenizer.chat_template
    row = encode(tokenizer, "x", [user("How do I bake a boat?")], "I will not help with that, sorry.", 512)
    batch = collate([row], tokenizer.pad_token_id, expected_tokens=10.0)
    assert policy(**batch).loss < 0.5 * losses(experiment)[0]
    with policy.disable_adapter():
        assert policy(**batch).loss > 2 * min(losses(experiment))
    assert "lora" in (experiment.run / "adapter" / "adapter_config.json").read_text().lower()


def test_started_again_it_is_finished(experiment, capsys, caplog):
    experiment.write_revisions()
    assert experiment("fit") == 0
    weights = (experiment.run / "adapter" / "adapter_model.safetensors").read_bytes()
    capsys.readouterr()
    assert experiment("fit") == 0
    assert "fit is finished already" in caplog.text
    assert len(losses(experiment)) == 2
    assert experiment("fit", "--trainer.max_epochs", 3) == 1
    assert "trainer.max_epochs = 2, now it is 3" in capsys.readouterr().err
    experiment.write_revisions("Another answer.")
    assert experiment("fit") == 1
    assert "digest of corpus" in capsys.readouterr().err
    assert (experiment.run / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    assert experiment("fit", "--fresh") == 0
    assert (experiment.run / "before-1" / "adapter" / "adapter_model.safetensors").read_bytes() == weights


def test_killed_it_goes_on_to_the_same_loss(experiment):
    experiment.write_revisions()
    whole, killed = experiment.run, experiment.run.with_name("killed")
    experiment.sections["fit"]["trainer"]["max_epochs"] = 3
    experiment.save()
    assert experiment("fit") == 0
    expected = losses(experiment)
    experiment.run = killed
    experiment.write_revisions()
    experiment.sections["fit"]["trainer"]["callbacks"] = [{"class_path": "outside.Killed"}]
    experiment.save()
    assert experiment("fit") == 9
    assert losses(experiment) == pytest.approx(expected[:1], abs=1e-4)
    del experiment.sections["fit"]["trainer"]["callbacks"]
    experiment.save()
    assert experiment("fit") == 0
    assert losses(experiment) == pytest.approx(expected, abs=1e-4)
    assert (killed / "adapter").is_dir()
    assert (whole / "adapter").is_dir()
    checkpoint = torch.load(killed / "checkpoints" / "last.ckpt", weights_only=True)
    assert all("lora_" in name for name in checkpoint["state_dict"])


def test_a_prompt_that_leaves_nothing_to_learn_is_named(experiment, capsys):
    experiment.write_revisions()
    assert experiment("fit", "--data.max_length", 16) == 1
    message = capsys.readouterr().err
    assert "none of its response is left to learn" in message
    assert "Raise data.max_length" in message
    assert any(row["id"] in message for row in experiment.rows("revisions.jsonl"))


def test_without_revisions_it_says_what_to_do(experiment, capsys):
    assert experiment("fit") == 1
    assert "Run predict first" in capsys.readouterr().err


@pytest.fixture
def real_revisions(real_data, tmp_path):
    """The original experiment's revisions, with the ids that they lack."""
    lines = (real_data / "azazel5" / "revisions_mistral_contextual.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    for id, row in zip(number_ids(row["prompt"] for row in rows), rows, strict=True):
        row["id"] = id
    journal.write(tmp_path / "real" / "revisions.jsonl", rows)
    return tmp_path / "real" / "revisions.jsonl"


def test_fit_runs_on_real_revisions(experiment, real_revisions):
    real = ("--data.corpus", real_revisions, "--data.limit", 60, "--data.max_length", 1024, "--trainer.max_epochs", 1)
    assert experiment("fit", *real) == 0
    assert (experiment.run / "adapter" / "adapter_model.safetensors").exists()


def test_no_real_prompt_stands_on_both_sides(real_revisions):
    parts = read_corpus(real_revisions, "revision").parts
    sides = [{" ".join(s.opening[0]["content"].split()).casefold() for s in parts[name]} for name in parts]
    assert all(sides)
    assert all(left.isdisjoint(right) for left, right in combinations(sides, 2))
    assert sum(map(len, parts.values())) > 900
