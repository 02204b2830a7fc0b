"""An objective written outside the package trains by its class path, and copies no line of what every training does."""

import json
from dataclasses import dataclass
from pathlib import Path

import focal
import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture
def fitting(experiment):
    """The experiment with that objective, in steps of two batches of four packed rows."""
    experiment.sections["fit"]["model"]["class_path"] = "focal.Focal"
    experiment.sections["fit"]["model"]["init_args"] |= {"gamma": 2.0, "lora": {"r": 4, "dropout": 0.3}}
    experiment.sections["fit"]["data"]["init_args"]["batch_size"] = 4
    experiment.sections["fit"]["trainer"] |= {"accumulate_grad_batches": 2, "log_every_n_steps": 1}
    experiment.save()
    experiment.write_revisions()
    return experiment


def adapter(experiment):
    return (experiment.run / "adapter" / "adapter_model.safetensors").read_bytes()


def test_it_learns_is_measured_and_its_best_adapter_is_kept(fitting, caplog):
    with caplog.at_level("INFO"):
        assert fitting("fit", "--trainer.max_epochs", 3) == 0
    assert "M of them trained\nmemory: about" in caplog.text
    assert "learning from 31, validating on 2" in caplog.text
    assert all(value > 0 for name in ("mfu", "grad_norm", "tokens_per_s") for value in fitting.logged(name))
    losses = fitting.logged("val_loss")
    assert losses[-1] < 0.5 * losses[0]
    checkpoint = torch.load(fitting.run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["callbacks"]["BestCheckpoint"]["best"] == pytest.approx(min(losses))
    assert all("lora_" in name for name in checkpoint["state_dict"])
    assert len(adapter(fitting)) > 0
    note = json.loads((fitting.run / "fit.json").read_text())
    assert (note["settings"]["model.class"], note["settings"]["model.gamma"]) == ("focal.Focal", 2.0)
    assert note["kept"] == {"step": 12, "of": 12}


def test_stopped_at_any_step_it_goes_on_with_the_same_losses(fitting):
    whole = fitting.run
    assert fitting("fit") == 0
    expected, bytes_expected = fitting.logged("train_loss"), adapter(fitting)
    for step in (1, 4, 6):
        fitting.run = whole.with_name(f"stopped_at_{step}")
        fitting.write_revisions()
        trainer = fitting.sections["fit"]["trainer"]
        trainer["callbacks"] = [{"class_path": "outside.Stopped", "init_args": {"step": step}}]
        fitting.save()
        assert fitting("fit", "--checkpoint_every", 1) == 9
        del trainer["callbacks"]
        fitting.save()
        assert fitting("fit", "--checkpoint_every", 1) == 0
        assert fitting.logged("train_loss") == expected
        assert adapter(fitting) == bytes_expected


def test_its_own_setting_counts(fitting, capsys):
    assert fitting("fit") == 0
    assert fitting("fit", "--model.gamma", 1.0) == 1
    assert "model.gamma = 2.0, now it is 1.0" in capsys.readouterr().err


@pytest.mark.parametrize("packing", ["true", "false"])
def test_where_it_is_cross_entropy_it_is_supervised_fine_tuning(fitting, packing):
    assert fitting("fit", "--model.gamma", 0.0, "--data.packing", packing) == 0
    own = load_file(fitting.run / "adapter" / "adapter_model.safetensors"), fitting.logged("val_loss")
    fitting.sections["fit"]["model"]["class_path"] = "cai_lightning.modules.SupervisedFineTuning"
    del fitting.sections["fit"]["model"]["init_args"]["gamma"]
    fitting.save()
    fitting.run = fitting.run.with_name("supervised")
    fitting.write_revisions()
    assert fitting("fit", "--data.packing", packing) == 0
    theirs = load_file(fitting.run / "adapter" / "adapter_model.safetensors"), fitting.logged("val_loss")
    torch.testing.assert_close(own[0], theirs[0], atol=1e-4, rtol=1e-3)
    assert own[1] == pytest.approx(theirs[1], rel=1e-4)


def test_its_settings_are_explained_beside_those_of_every_training(fitting, capsys):
    assert fitting("fit", "--model.help", "focal.Focal") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Learns what is not known yet" in told
    assert "How much less a token counts that is well predicted" in told
    assert "Peak learning rate of AdamW" in told


def test_the_documentation_shows_this_objective():
    documented = (Path(__file__).parents[2] / "docs" / "extend.md").read_text()
    own = Path(focal.__file__).read_text().partition('"""\n\n')[2]
    assert f"```python\n{own}```" in documented


def test_an_objective_that_is_no_dataclass_of_its_own_kind_is_refused():
    class Plain(focal.Focal):
        delta: float = 1.0

    @dataclass
    class Comparing(focal.Focal):
        delta: float = 1.0

    with pytest.raises(TypeError, match="Plain: make it a @dataclass"):
        Plain("model")
    with pytest.raises(TypeError, match="Comparing: give its @dataclass eq=False"):
        Comparing("model")
