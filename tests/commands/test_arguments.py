"""What is wrong with a setting is said in one line, with the name that was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.commands.arguments import usage_error


@pytest.mark.parametrize(
    ("verb", "override", "message"),
    [
        ("fit", "--model.learnign_rate=3", "has no setting 'learnign_rate'; did you mean 'learning_rate'?"),
        ("fit", "--model.lora.rank=3", "model.lora: Lora has no setting 'rank'; it has r, alpha, "),
        ("fit", "--model.learning_rate=fast", "model.learning_rate: expected float, found fast"),
        ("fit", "--model.schedule=cosin", "schedule: expected one of 'constant', 'cosine', 'linear', found cosin"),
        ("fit", "--model=cai_lightning.modules.SupervisedFinetuning", "did you mean 'SupervisedFineTuning'?"),
        ("fit", "--trainer.max_epochs=two", "trainer.max_epochs: expected int, found two"),
        ("predict", "--model.engine.sampling.temperature=hot", "model.engine.sampling.temperature: expected float"),
        ("predict", "--model.engine.batch_sise=3", "has no setting 'batch_sise'; did you mean 'batch_size'?"),
    ],
)
def test_it_names_the_setting_and_what_was_meant(experiment, capsys, verb, override, message):
    assert experiment(verb, override) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert message in line


@pytest.mark.parametrize(("section", "name"), [("trainer", "max_epoch"), ("data", "batch_sice")])
def test_it_is_found_in_a_file_too(experiment, capsys, section, name):
    values = experiment.sections["fit"][section]
    values.get("init_args", values)[name] = 3
    experiment.save()
    assert experiment("fit") == 2
    assert f"has no setting '{name}'; did you mean " in capsys.readouterr().err.splitlines()[-1]


def test_what_a_constructor_lacks_is_said(experiment, capsys, monkeypatch):
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
    experiment.write_revisions()
    assert experiment("fit", "--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=logs") == 1
    assert "error: Neither `tensorboard` nor `tensorboardX` is available." in capsys.readouterr().err


def test_without_a_gpu_it_names_the_ways_out(experiment, capsys, monkeypatch):
    for name in ("CUDAAccelerator", "MPSAccelerator"):
        monkeypatch.setattr(f"lightning.pytorch.accelerators.{name}.is_available", lambda: False)
    assert experiment("predict", "--trainer.accelerator=gpu") == 1
    said = capsys.readouterr().err
    assert "sets trainer.accelerator: gpu, but " in said
    assert "--trainer.accelerator cpu" in said
    assert "configs/laptop_contextual.yaml" in said


def test_the_usage_is_that_of_the_verb(experiment, capsys):
    assert experiment("fit", "--trainer.logger=TensorBoardLogger") == 2
    usage, tip, error = capsys.readouterr().err.splitlines()[-3:]
    assert usage.startswith("usage: python -m cai_lightning fit --config FILE")
    assert tip.endswith("python -m cai_lightning fit --help")
    assert error == "error: trainer.logger: the following arguments are required: save_dir"


@given(st.text() | st.text(alphabet="\n -Expctd a<>'").map('Parser key "a":\n{}'.format))
def test_any_other_text_stays(text):
    assert isinstance(usage_error(text), str)
    assert "Parser key" in text or usage_error(text) == text
