"""A training killed at any moment goes on to the validations and the adapter of one that was never stopped."""

import csv
import json

import pytest


@pytest.fixture
def fitted(experiment):
    """Fits in a run of that name, ended at each of the hooks in turn, and returns what the whole of it has left."""
    fit = experiment.sections["fit"]
    fit["model"]["init_args"] |= {"lora": {"r": 4, "dropout": 0.3}, "schedule": "cosine"}
    fit["data"]["init_args"]["batch_size"] = 4

    def run(name, trainer, every, *ends):
        fit["trainer"] |= {"log_every_n_steps": 1, **trainer}
        experiment.run = experiment.config.with_name(name)
        experiment.write_revisions()
        for hook, nth in ends:
            fit["trainer"]["callbacks"] = [{"class_path": "outside.Ended", "init_args": {"hook": hook, "nth": nth}}]
            experiment.save()
            assert experiment("fit", "--checkpoint_every", every) == 9
        fit["trainer"].pop("callbacks", None)
        experiment.save()
        assert experiment("fit", "--checkpoint_every", every) == 0
        assert "finished" in json.loads((experiment.run / "fit.json").read_text())
        weights = (experiment.run / "adapter" / "adapter_model.safetensors").read_bytes()
        return by_step(experiment.run, "val_loss"), by_step(experiment.run, "train_loss"), weights

    return run


def by_step(run, name):
    """What the logs of all starts say, the later of them where a step was done twice."""
    logs = [log.read_text().splitlines() for log in sorted(run.glob("logs/version_*/metrics.csv"))]
    return {int(row["step"]): float(row[name]) for log in logs for row in csv.DictReader(log) if row.get(name)}


TWO = {"max_epochs": 1, "accumulate_grad_batches": 2}


@pytest.mark.parametrize(
    ("trainer", "every", "ends"),
    [
        ({"max_epochs": 1}, 1, [("on_validation_start", 1)]),
        ({"max_epochs": 2}, 1, [("on_validation_start", 2)]),
        (TWO | {"max_epochs": -1, "max_steps": 4}, 4, [("on_validation_start", 1)]),
        (TWO | {"val_check_interval": 2}, 1, [("on_validation_start", 1), ("on_validation_end", 1)]),
        (TWO | {"val_check_interval": 3}, 1, [("on_validation_start", 2), ("on_train_batch_start", 3)]),
    ],
)
def test_killed_in_a_validation_it_validates_when_it_goes_on(fitted, trainer, every, ends):
    assert fitted("killed", trainer, every, *ends) == fitted("whole", trainer, every)


def test_killed_between_two_steps_it_loses_no_gradient(fitted):
    """The second start ends in the middle of its first step, of which no checkpoint may be kept."""
    killed = fitted("killed", TWO, 1, ("on_train_batch_start", 3), ("on_train_batch_start", 2))
    assert killed == fitted("whole", TWO, 1)


def test_a_training_that_kept_nothing_is_not_finished(experiment, capsys):
    experiment.write_revisions()
    for _ in range(2):
        assert experiment("fit", "--trainer.val_check_interval", "01:00:00:00") == 1
        assert "error: the training has ended, and there is no" in capsys.readouterr().err
    assert "finished" not in json.loads((experiment.run / "fit.json").read_text())


def test_a_negative_number_of_steps_is_refused(experiment, capsys):
    experiment.write_revisions()
    assert experiment("fit", "--checkpoint_every", -1) == 1
    assert "error: --checkpoint_every: must be ≥ 0, not -1" in capsys.readouterr().err
