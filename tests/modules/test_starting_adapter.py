"""A training starts from an adapter: with its weights, its shape and its digest; one that does not fit is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from cai_lightning.models.adapters import Lora
from cai_lightning.models.policy import trained_state
from cai_lightning.modules.sft import SupervisedFineTuning
from cai_lightning.run.errors import UserError


@pytest.fixture
def start(experiment):
    """The adapter of another run."""
    experiment.run = experiment.run.with_name("start")
    experiment.write_revisions()
    assert experiment("fit", "--trainer.max_epochs", 1, "--model.lora.alpha", 12) == 0
    adapter = experiment.run / "adapter"
    experiment.run = experiment.run.with_name("run")
    experiment.write_revisions("Another answer.")
    return adapter


def opened(model, adapter, **settings):
    module = SupervisedFineTuning(str(model), adapter=adapter, base_dtype="float32", **settings)
    module.configure_model()
    return module


def tensors(folder):
    return load_file(folder / "adapter_model.safetensors")


def test_it_has_the_weights_and_the_shape(start, tiny_model):
    module = opened(tiny_model, start)
    assert (module.lora.r, module.lora.alpha) == (4, 12)
    found = {name.removeprefix("policy.").replace(".default", ""): p for name, p in trained_state(module).items()}
    expected = tensors(start)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert any(value.any() for name, value in expected.items() if "lora_B" in name)


def test_dropout_may_be_another_and_is_saved(start, tiny_model, tmp_path):
    module = opened(tiny_model, start, lora=Lora(dropout=0.25))
    assert {layer.p for name, layer in module.named_modules() if name.endswith("lora_dropout.default")} == {0.25}
    module.save(tmp_path / "saved", trained_state(module))
    saved = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert (saved["lora_dropout"], saved["base_model_name_or_path"]) == (0.25, str(tiny_model))
    assert torch.equal(*(next(iter(tensors(folder).values())) for folder in (start, tmp_path / "saved")))


def test_fit_goes_on_from_it(experiment, start, capsys):
    before = tensors(start)
    experiment.sections["fit"]["model"]["init_args"] |= {"adapter": str(start), "learning_rate": 1e-9}
    experiment.save()
    assert experiment("fit") == 0
    after = tensors(experiment.run / "adapter")
    torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-6)
    settings = json.loads((experiment.run / "fit.json").read_text())["settings"]
    assert settings["digest of adapter"]
    assert (settings["model.lora.r"], settings["model.lora.alpha"]) == (4, 12)
    moved = shutil.copytree(start, start.with_name("moved"))
    assert experiment("fit", "--model.adapter", moved) == 0  # the same, elsewhere
    (moved / "adapter_model.safetensors").write_bytes(b"other")
    capsys.readouterr()
    assert experiment("fit", "--model.adapter", moved) == 1
    assert "digest of adapter" in capsys.readouterr().err


def test_without_one_the_note_is_what_it_was(experiment):
    experiment.write_revisions()
    assert experiment("fit", "--trainer.max_epochs", 1) == 0
    settings = json.loads((experiment.run / "fit.json").read_text())["settings"]
    assert not [name for name in settings if name in ("model.adapter", "digest of adapter")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora": Lora(r=8)}, r"model\.lora\.r: 8, but .* has 4, which stays"),
        ({"lora": None}, r"model\.lora: null trains the whole model"),
    ],
)
def test_another_shape_is_refused(start, tiny_model, settings, message):
    with pytest.raises(UserError, match=message):
        SupervisedFineTuning(str(tiny_model), adapter=start, **settings)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("task_type", "SEQ_CLS", "no LoRA adapter of a language model"), ("r", "four", r"adapter_config\.json")],
)
def test_what_is_no_such_adapter_is_refused(start, tiny_model, name, value, message):
    path = start / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(UserError, match=message):
        SupervisedFineTuning(str(tiny_model), adapter=start)


def test_a_missing_one_and_the_runs_own_are_refused(experiment, start, capsys):
    assert experiment("fit", "--model.adapter", start.parent) == 1
    assert "holds no adapter" in capsys.readouterr().err
    shutil.copytree(start, experiment.run / "adapter")
    assert experiment("fit", "--model.adapter", experiment.run / "adapter") == 1
    assert "is what this run writes" in capsys.readouterr().err


def test_one_of_another_base_is_refused(start, tiny_model, tmp_path):
    other = shutil.copytree(tiny_model, tmp_path / "other")
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(weights[:-4] + bytes(4))
    with pytest.raises(UserError, match="another model of the same shapes"):
        opened(other, start)
