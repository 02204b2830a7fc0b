"""Fine-tuning learns the response's tokens alone, in the adapter alone, and goes on where it was killed."""

import json
import math
import os
import re
import subprocess
import sys
from functools import partial
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cai_lightning.data.batches import Sizes, encode, pack, pad, plan
from cai_lightning.data.corpus import read_corpus
from cai_lightning.data.prompts import Sample, part
from cai_lightning.models.adapters import Lora, check_adapter
from cai_lightning.models.hub import load_config
from cai_lightning.models.policy import trained_state
from cai_lightning.modules.sft import SupervisedFineTuning
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, number_ids, user


@pytest.fixture(scope="module")
def tuning(tiny_model):
    module = SupervisedFineTuning(str(tiny_model), Lora(r=4), base_dtype="float32")
    module.configure_model()
    return module


@pytest.fixture(scope="module")
def rows(tuning):
    replies = ["No.", "No.", "Sure, and here is a long reply. " * 4, "A reply of its own."]
    return [encode(tuning.tokenizer, Sample(str(n), [user("Hi")], reply), 512) for n, reply in enumerate(replies)]


@pytest.fixture(scope="module")
def batch(rows):
    return pack(rows, step_tokens=100)


@pytest.mark.parametrize("packed", [True, False])
def test_the_loss_is_the_models_own(tuning, rows, tiny_model, packed):
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    padded = pad(rows, 1, filling=0)
    reference = plain(**{name: padded[name] for name in ("input_ids", "attention_mask", "labels")}).loss
    loss, tokens = tuning.summed_loss(pack(rows, 1) if packed else padded)
    assert tokens == sum(row.supervised for row in rows)
    torch.testing.assert_close(loss / tokens, reference, atol=1e-5, rtol=1e-5)


def test_every_token_counts_the_same_however_a_step_is_accumulated(tuning, rows, monkeypatch):
    """The gradients of 1 x 8, 2 x 4, 4 x 2 and 8 x 1 batches agree, and are those of the mean over all tokens."""
    rows = [*rows, *(encode(tuning.tokenizer, Sample(str(n), [user("Hi")], "No. " * n), 512) for n in range(4, 8))]
    monkeypatch.setattr(tuning, "log", lambda *args, **kwargs: None)
    trainer = SimpleNamespace(world_size=1)
    monkeypatch.setattr(SupervisedFineTuning, "trainer", trainer)

    def gradient(size):
        trainer.accumulate_grad_batches = len(rows) // size
        (planned,) = plan(rows, Sizes(size, batches_per_step=len(rows) // size), seed=1, epoch=0)
        tuning.zero_grad()
        for batch in planned:
            loss = tuning.training_step(pack([rows[n] for n in batch.rows], batch.step_tokens), 0)
            (loss / trainer.accumulate_grad_batches).backward()  # as Lightning does
        return flat_gradient(tuning)

    tuning.zero_grad()
    loss, tokens = tuning.summed_loss(pad(rows, 1, filling=0))
    (loss / tokens).backward()
    whole = flat_gradient(tuning)
    assert whole.norm() > 0
    for size in (1, 2, 4, 8):
        torch.testing.assert_close(gradient(size), whole, atol=1e-6, rtol=1e-4)


def flat_gradient(module):
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def test_only_the_adapter_learns(tuning, batch):
    tuning.zero_grad()
    loss, _ = tuning.summed_loss(batch)
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
        module.summed_loss(batch)[0].backward()
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
    other.load_state_dict(checkpoint["state_dict"], strict=other.strict_loading)
    assert all(torch.equal(saved[name], value) for name, value in trained_state(other).items())


def test_a_checkpoint_of_another_shape_is_refused(tuning):
    with pytest.raises(Exception, match="lacks 28 tensors of the adapter"):
        tuning.on_load_checkpoint({"state_dict": {}})


def test_a_checkpoint_of_another_shape_is_refused_where_layers_are_shared_out(tuning, tmp_path, monkeypatch):
    """As Lightning's ModelParallelStrategy does it: it loads what fits, and hands on the rest of the checkpoint."""
    monkeypatch.setattr(SupervisedFineTuning, "trainer", SimpleNamespace(ckpt_path=tmp_path / "last.ckpt"))
    trained = trained_state(tuning)
    torch.save({"state_dict": trained}, tmp_path / "last.ckpt")
    tuning.on_load_checkpoint({"epoch": 1})
    trained.pop(min(trained))
    torch.save({"state_dict": trained}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="lacks 1 tensors of the adapter"):
        tuning.on_load_checkpoint({"epoch": 1})


def test_fit_learns_and_leaves_an_adapter(experiment, tiny_model):
    experiment.write_revisions()
    assert experiment("fit", "--trainer.max_epochs", 4) == 0
    assert experiment.logged("val_loss")[-1] < 0.5 * experiment.logged("val_loss")[0]
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    policy = PeftModel.from_pretrained(base, experiment.run / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(experiment.run / "adapter")
    assert tokenizer.chat_template
    row = encode(tokenizer, Sample("x", [user("How do I bake a boat?")], "I will not help with that, sorry."), 512)
    batch = {name: torch.tensor([getattr(row, name)]) for name in ("input_ids", "labels")}
    assert policy(**batch).loss < 0.5 * experiment.logged("val_loss")[0]
    with policy.disable_adapter():
        assert policy(**batch).loss > 2 * min(experiment.logged("val_loss"))
    assert "lora" in (experiment.run / "adapter" / "adapter_config.json").read_text().lower()


def test_started_again_it_is_finished(experiment, capsys, caplog):
    experiment.write_revisions()
    assert experiment("fit") == 0
    weights = (experiment.run / "adapter" / "adapter_model.safetensors").read_bytes()
    capsys.readouterr()
    assert experiment("fit") == 0
    assert "fit is finished already" in caplog.text
    assert len(experiment.logged("val_loss")) == 2
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
    expected = experiment.logged("val_loss")
    experiment.run = killed
    experiment.write_revisions()
    experiment.sections["fit"]["trainer"]["callbacks"] = [{"class_path": "outside.Killed"}]
    experiment.save()
    assert experiment("fit") == 9
    assert experiment.logged("val_loss") == pytest.approx(expected[:1], abs=1e-4)
    del experiment.sections["fit"]["trainer"]["callbacks"]
    experiment.save()
    assert experiment("fit") == 0
    assert experiment.logged("val_loss") == pytest.approx(expected, abs=1e-4)
    assert (killed / "adapter").is_dir()
    assert (whole / "adapter").is_dir()
    checkpoint = torch.load(killed / "checkpoints" / "last.ckpt", weights_only=True)
    assert all("lora_" in name for name in checkpoint["state_dict"])


def test_stopped_at_any_step_it_goes_on_with_the_same_losses(experiment):
    """Data order, dropout, moments and learning rate are those of a run that was never stopped."""
    experiment.write_revisions()
    fit = experiment.sections["fit"]
    fit["model"]["init_args"] |= {"lora": {"r": 4, "dropout": 0.3}, "schedule": "cosine"}
    fit["data"]["init_args"]["batch_size"] = 4
    fit["trainer"] |= {"accumulate_grad_batches": 2, "log_every_n_steps": 1}
    experiment.save()
    whole = experiment.run
    assert experiment("fit") == 0
    expected = experiment.logged("train_loss")
    assert len(set(expected)) == len(expected) == 8
    adapter = (whole / "adapter" / "adapter_model.safetensors").read_bytes()
    for step in (1, 3, 4, 7):
        experiment.run = whole.with_name(f"stopped_at_{step}")
        experiment.write_revisions()
        fit["trainer"]["callbacks"] = [{"class_path": "outside.Stopped", "init_args": {"step": step}}]
        experiment.save()
        assert experiment("fit", "--checkpoint_every", 1) == 9
        del fit["trainer"]["callbacks"]
        experiment.save()
        assert experiment("fit", "--checkpoint_every", 1) == 0
        assert experiment.logged("train_loss") == expected
        assert (experiment.run / "adapter" / "adapter_model.safetensors").read_bytes() == adapter


TWO = ["--trainer.accelerator", "cpu", "--trainer.devices", "2"]
STRATEGY = "--trainer.strategy"
SHARDED = [*TWO, STRATEGY, "lightning.pytorch.strategies.ModelParallelStrategy"]
SHARDED += [f"{STRATEGY}.data_parallel_size", "2", f"{STRATEGY}.tensor_parallel_size", "1"]
SHARDED += [f"{STRATEGY}.save_distributed_checkpoint", "false"]


@pytest.fixture
def fitted(experiment, tmp_path):
    """Fits, in processes of their own unless told otherwise, and returns the adapter's tensors, if there are any."""
    fit = experiment.sections["fit"]
    fit["trainer"] |= {"gradient_clip_val": 1.0}
    fit["data"]["init_args"] |= {"batch_size": 3, "max_tokens": 120}
    experiment.save()

    def run(name, *arguments, apart=True, status=0):
        experiment.run = experiment.run.with_name(name)
        experiment.write_revisions()
        if not apart:
            assert experiment("fit", *arguments) == 0
        else:
            command = [sys.executable, "-m", "cai_lightning", *experiment.arguments("fit", *arguments)]
            paths = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert done.returncode == status, done.stderr[-8000:]
        adapter = experiment.run / "adapter" / "adapter_model.safetensors"
        return load_file(adapter) if adapter.exists() else {}

    return run


@pytest.mark.slow
def test_two_processes_learn_what_one_does(fitted):
    """The loss is a mean over the tokens of both; one without a batch in the last step keeps the other company.

    With DDP each holds the whole model, with FSDP2 (Lightning's ModelParallelStrategy) its share of every layer.
    """
    one = fitted("one", "--trainer.accumulate_grad_batches", "2", apart=False)
    assert any(value.any() for name, value in one.items() if "lora_B" in name)
    for name, arguments in (("replicated", TWO), ("sharded", SHARDED)):
        torch.testing.assert_close(fitted(name, *arguments), one, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_training_that_shares_layers_out_goes_on_from_its_checkpoint_and_checks_it(fitted, experiment):
    sharded = [*SHARDED, "--checkpoint_every", "1", "--trainer.max_epochs", "1", "--trainer.log_every_n_steps", "1"]
    whole, steps = fitted("whole", *sharded), experiment.logged("train_loss")
    assert len(steps) > 3
    trainer = experiment.sections["fit"]["trainer"]
    trainer["callbacks"] = [{"class_path": "outside.Stopped", "init_args": {"step": 2}}]
    experiment.save()
    assert not fitted("stopped", *sharded, status=9)
    del trainer["callbacks"]
    experiment.save()
    again, note = fitted("stopped", *sharded), experiment.run / "fit.json"
    assert experiment.logged("train_loss") == steps
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    unfinished = {name: value for name, value in json.loads(note.read_text()).items() if name != "finished"}
    note.write_text(json.dumps(unfinished))
    last = experiment.run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["state_dict"].popitem()
    torch.save(checkpoint, last)
    with pytest.raises(AssertionError, match="lacks 1 tensors of the adapter"):
        fitted("stopped", *sharded)


def test_the_whole_model_is_trained_where_there_is_no_adapter(experiment, tiny_model):
    experiment.write_revisions()
    experiment.sections["fit"]["model"]["init_args"] |= {"lora": None, "learning_rate": 1e-3}
    experiment.save()
    assert experiment("fit") == 0
    tuned = AutoModelForCausalLM.from_pretrained(experiment.run / "model").state_dict()
    base = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    assert all(not torch.equal(tuned[name], base[name]) for name in base if "weight" in name)
    assert AutoTokenizer.from_pretrained(experiment.run / "model").chat_template
    assert not (experiment.run / "adapter").exists()
    settings = [json.loads((folder / "config.json").read_text()) for folder in (tiny_model, experiment.run / "model")]
    assert settings[0]["use_cache"] is settings[1]["use_cache"] is True
    references = ("--data.references", experiment.run / "revisions.jsonl")
    assert experiment("validate", "--model.adapter", "run", *references) == 0
    tuned_answers = experiment.rows("responses.jsonl")
    assert all(row["adapter"] for row in tuned_answers)
    experiment.run = experiment.run.with_name("base")
    assert experiment("validate", "--model.adapter", "null", *references) == 0
    base_answers = experiment.rows("responses.jsonl")
    assert [row["response"] for row in tuned_answers] != [row["response"] for row in base_answers]


@pytest.fixture
def quick_compiler(monkeypatch):
    """torch.compile without inductor, which takes minutes; it traces forward and backward alike."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch warns of itself, and an error in its midst breaks the compiling
def test_compiled_layers_learn_the_same(batch, tiny_model, quick_compiler):
    losses, gradients = [], []
    for compiled in (False, True):
        module = SupervisedFineTuning(str(tiny_model), Lora(r=4), base_dtype="float32", compile_layers=compiled)
        module.configure_model()
        loss, _ = module.summed_loss(batch)
        loss.backward()
        losses.append(loss.detach())
        gradients.append({n: p.grad for n, p in module.named_parameters() if p.requires_grad})
        assert (torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0) == compiled
    torch.testing.assert_close(losses[1], losses[0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("packs", [True, False], ids=["avx512_bf16", "another_cpu"])
def test_an_adapter_is_trained_on_a_base_of_four_bits(experiment, tiny_model, packs, monkeypatch):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: packs)
    experiment.write_revisions()
    assert experiment("fit", "--model.quantization", "nf4", "--trainer.max_epochs", 4) == 0
    assert experiment.logged("val_loss")[-1] < 0.7 * experiment.logged("val_loss")[0]
    module = SupervisedFineTuning(str(tiny_model), Lora(r=4), base_dtype="float32", quantization="nf4")
    module.configure_model()
    layer = module.policy.get_base_model().model.layers[0].mlp.up_proj.base_layer
    assert type(layer).__name__ == "Linear4bit"
    assert layer.weight.numel() < layer.in_features * layer.out_features
    check_adapter(load_config(str(tiny_model)), experiment.run / "adapter")


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_weights_of_four_bits_are_evaluated_as_they_are_trained(batch, tiny_model, kind, monkeypatch):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    module = SupervisedFineTuning(str(tiny_model), Lora(r=4), base_dtype="float32", quantization=kind)
    module.configure_model()
    before = {name: buffer.clone() for name, buffer in module.policy.state_dict().items()}
    trained = module.summed_loss(batch)[0]
    with torch.no_grad():
        evaluated = module.eval().summed_loss(batch)[0]
    torch.testing.assert_close(evaluated, trained.detach(), atol=1e-3, rtol=1e-3)
    after = module.policy.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    module.train().summed_loss(batch)[0].backward()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora": Lora(target_modules=["no_such_layer"])}, "no_such_layer"),
        ({"lora": Lora(target_modules=["q_proj", "misspelt"])}, "no layer is called misspelt"),
        ({"quantization": "nf4"}, "model.quantization needs bitsandbytes"),
        ({"liger": True}, "model.liger needs liger-kernel"),
    ],
)
def test_a_model_that_cannot_be_trained_like_that_is_told(tiny_model, settings, message, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=message):
        SupervisedFineTuning(str(tiny_model), **settings).configure_model()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--model.attn_implementation", "eager"), "does not keep packed conversations apart"),
        (("--data.max_tokens", "0"), "data.max_tokens"),
        (("--data.mixture", '[{"source": "absent.jsonl"}]'), "absent.jsonl: no such file"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_wrong_input_ends_in_a_clear_message_before_training(experiment, capsys, overrides, message):
    experiment.write_revisions()
    assert experiment("fit", *overrides) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (experiment.run / "adapter").exists()


def test_a_mixture_is_learned_beside_the_revisions(experiment, tmp_path, caplog):
    experiment.write_revisions()
    chats = [{"messages": [user(f"What is {n} plus {n}?"), assistant(str(2 * n))]} for n in range(100)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    mixture = json.dumps([{"source": str(tmp_path / "chats.jsonl"), "weight": 0.5}])
    with caplog.at_level("INFO"):
        assert experiment("fit", "--data.mixture", mixture) == 0
    said = caplog.text
    assert "mixture: 16 conversations of 100 drawn" in said
    assert "learning from 47, validating on 2" in said
    held_out = int(re.search(r"(\d+) left out because", said)[1])
    assert held_out == sum(part(chat["messages"][0]["content"]) != "train" for chat in chats) > 0


def test_a_checkpoint_cut_short_is_named(experiment, capsys):
    experiment.write_revisions()
    experiment.sections["fit"]["trainer"]["callbacks"] = [{"class_path": "outside.Killed"}]
    experiment.save()
    assert experiment("fit") == 9
    last = experiment.run / "checkpoints" / "last.ckpt"
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    last.write_bytes(last.read_bytes()[:1000])
    assert experiment("fit") == 1
    assert f"error: {last}: no readable checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("cut_replies", ["open", "drop"])
def test_replies_that_were_cut_are_told_before_the_first_step(experiment, caplog, cut_replies):
    experiment.write_revisions()
    rows = experiment.rows("revisions.jsonl")
    cut = [{**row, "finish_reasons": ["stop", "length" if n % 4 == 0 else "stop"]} for n, row in enumerate(rows)]
    jsonl.write(experiment.run / "revisions.jsonl", cut)
    with caplog.at_level("INFO"):
        assert experiment("fit", "--trainer.max_epochs", 1, "--data.cut_replies", cut_replies) == 0
    what = {"open": "whose end is not learned", "drop": "which are left out"}[cut_replies]
    assert f"cut at their limit of tokens: 10 of 40 (0 told by their text alone), {what}" in caplog.text


def test_a_warm_up_that_never_ends_is_told_before_the_first_step(experiment, caplog):
    experiment.write_revisions()
    with caplog.at_level("INFO"):
        assert experiment("fit", "--model.warmup", 1000, "--trainer.log_every_n_steps", 1) == 0
    used = experiment.logged("learning_rate")
    assert "learning rate: rises in all 8 steps to 7e-05, never to 0.01: model.warmup is 1,000 steps" in caplog.text
    assert (len(used), max(used)) == (8, pytest.approx(7e-5))


def test_every_step_is_watched(experiment):
    experiment.write_revisions()
    assert experiment("fit", "--trainer.log_every_n_steps", 1, "--trainer.accumulate_grad_batches", 2) == 0
    for name in ("grad_norm", "learning_rate", "tokens_per_s", "mfu", "memory_gb", "train_loss"):
        values = experiment.logged(name)
        assert values, name
        assert all(math.isfinite(value) and value >= 0 for value in values), name


def test_a_checkpoint_is_as_small_as_what_is_trained(experiment):
    experiment.write_revisions()
    assert experiment("fit") == 0
    base = (Path(experiment.sections["fit"]["model"]["init_args"]["model"]) / "model.safetensors").stat().st_size
    adapter = (experiment.run / "adapter" / "adapter_model.safetensors").stat().st_size
    checkpoint = (experiment.run / "checkpoints" / "last.ckpt").stat().st_size
    assert adapter < base / 4
    assert checkpoint < 3 * adapter + 100_000  # the adapter and its two moments


def test_stopped_early_in_the_first_epoch_it_is_finished(experiment):
    experiment.write_revisions()
    experiment.sections["fit"]["trainer"] |= {
        "callbacks": [
            {"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 1, "min_delta": 99.0}}
        ],
        "val_check_interval": 2,
    }
    experiment.save()
    assert experiment("fit") == 0
    assert len(experiment.logged("val_loss")) == 2
    assert "finished" in json.loads((experiment.run / "fit.json").read_text())


def test_padded_rows_are_learned_with_an_attention_that_cannot_pack(experiment):
    experiment.write_revisions()
    assert experiment("fit", "--data.packing", "false", "--model.attn_implementation", "eager") == 0
    assert experiment.logged("val_loss")[-1] < experiment.logged("val_loss")[0]


def test_no_logger_is_no_log(experiment):
    experiment.write_revisions()
    assert experiment("fit", "--trainer.logger", "false") == 0
    assert not (experiment.run / "logs").exists()


def test_the_whole_model_is_trained_in_32_bits(tiny_model, tmp_path):
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(tmp_path)
    for lora, expected in ((None, torch.float32), (Lora(r=4), torch.bfloat16)):
        module = SupervisedFineTuning(str(tmp_path), lora)
        module._trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")))
        assert getattr(torch, module._type_of_base().replace("auto", "bfloat16")) == expected
    module = SupervisedFineTuning(str(tmp_path), None)
    module.configure_model()
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


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
    jsonl.write(tmp_path / "real" / "revisions.jsonl", rows)
    return tmp_path / "real" / "revisions.jsonl"


def test_fit_runs_on_real_revisions(experiment, real_revisions):
    real = ("--data.corpus", real_revisions, "--data.limit", 60, "--data.max_length", 1024, "--trainer.max_epochs", 1)
    assert experiment("fit", *real) == 0
    assert (experiment.run / "adapter" / "adapter_model.safetensors").exists()


def test_no_real_prompt_stands_on_both_sides(real_revisions):
    parts = read_corpus(real_revisions).parts
    sides = [{" ".join(s.opening[0]["content"].split()).casefold() for s in parts[name]} for name in parts]
    assert all(sides)
    assert all(left.isdisjoint(right) for left, right in combinations(sides, 2))
    assert sum(map(len, parts.values())) > 900
