"""An adapter goes on its own base alone, told by the shapes and by what stands in the base's weight files."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cai_lightning.cli.main import main
from cai_lightning.models.adapters import FINGERPRINT, check_adapter, copy_fingerprint, save_fingerprint
from cai_lightning.models.hub import load_config
from cai_lightning.run.errors import UserError

ANOTHER = "is another model of the same shapes"


@pytest.fixture(scope="module")
def other(tiny_model, tmp_path_factory):
    """A model of the tiny one's shapes and tokenizer, as an -Instruct is one of its base's."""
    folder = tmp_path_factory.mktemp("models") / "tiny-instruct"
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        model.model.norm.weight += 0.1
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tiny_model, tmp_path):
    """All of an adapter that is looked at before it is loaded."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    save_fingerprint(load_config(str(tiny_model)), folder)
    return folder


def test_another_model_of_the_same_shapes_is_refused_by_both_names(adapter, tiny_model, other):
    check_adapter(load_config(str(tiny_model)), adapter)
    with pytest.raises(UserError, match=ANOTHER) as caught:
        check_adapter(load_config(str(other)), adapter)
    kept = json.loads((adapter / FINGERPRINT).read_text())
    assert f"was trained on {tiny_model} (weights {kept['weights']})" in str(caught.value)
    assert f"{other} (weights" in str(caught.value)
    (adapter / FINGERPRINT).unlink()
    check_adapter(load_config(str(other)), adapter)


def test_a_base_may_be_moved_and_described_anew(adapter, tiny_model, tmp_path):
    moved = shutil.copytree(tiny_model, tmp_path / "elsewhere" / "renamed")
    (moved / "README.md").write_text("# Tiny")
    (moved / "generation_config.json").write_text('{"temperature": 0.5}')
    check_adapter(load_config(str(moved)), adapter)


@pytest.mark.parametrize("unknown", [{}, {"weights": None}])
def test_where_weights_are_not_known_the_shapes_decide(adapter, other, unknown):
    kept = json.loads((adapter / FINGERPRINT).read_text())
    del kept["weights"]
    (adapter / FINGERPRINT).write_text(json.dumps(kept | unknown))
    check_adapter(load_config(str(other)), adapter)
    (adapter / FINGERPRINT).write_text(json.dumps(kept | unknown | {"hidden_size": 7}))
    with pytest.raises(UserError, match=r"hidden_size 7; .* has 64"):
        check_adapter(load_config(str(other)), adapter)


def test_a_copy_names_the_base_otherwise_and_knows_it_still(adapter, tiny_model, other, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(adapter / "adapter_config.json", copy)
    copy_fingerprint(adapter, copy, "path/to/tiny")
    assert str(tiny_model) not in (copy / FINGERPRINT).read_text()
    check_adapter(load_config(str(tiny_model)), copy)
    with pytest.raises(UserError, match=rf"trained on path/to/tiny .* {ANOTHER}"):
        check_adapter(load_config(str(other)), copy)


def test_a_broken_fingerprint_is_named(adapter, tiny_model):
    (adapter / FINGERPRINT).write_text("[]")
    with pytest.raises(UserError, match=f"{FINGERPRINT}: expected a JSON object"):
        check_adapter(load_config(str(tiny_model)), adapter)


def test_every_verb_refuses_it(experiment, other, capsys, tmp_path):
    experiment.write_revisions()
    assert experiment("fit", "--trainer.max_epochs", 1) == 0
    experiment.sections["validate"]["model"]["init_args"]["adapter"] = "run"
    experiment.sections["validate"]["model"]["init_args"]["engine"]["init_args"]["model"] = str(other)
    experiment.save()
    assert experiment("validate", "--data.references", experiment.run / "revisions.jsonl") == 1
    assert ANOTHER in capsys.readouterr().err
    assert main(["ask", "Hi", "--config", str(experiment.config), "--run", str(experiment.run)]) == 1
    assert ANOTHER in capsys.readouterr().err
    name_base(experiment.run / "adapter", other)
    for merge in ([], ["--merge"]):
        assert main(["export", str(experiment.run), "--output", str(tmp_path / "out"), *merge]) == 1
        assert ANOTHER in capsys.readouterr().err


def name_base(adapter: Path, base: Path) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(base)}))
