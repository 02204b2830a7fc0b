"""A training that would come to no validation is refused before its first step."""

import pytest


@pytest.mark.parametrize(
    "overrides",
    [
        ("--trainer.max_steps", 2),
        ("--trainer.limit_val_batches", 0),
        ("--trainer.check_val_every_n_epoch", 3),
        ("--trainer.max_steps", 2, "--trainer.val_check_interval", 5, "--trainer.accumulate_grad_batches", 2),
    ],
    ids=lambda overrides: overrides[0],
)
def test_a_training_that_would_keep_nothing_does_not_begin(experiment, capsys, overrides):
    experiment.write_revisions()
    assert experiment("fit", "--data.batch_size", 4, *overrides) == 1
    assert "only what was validated is kept" in capsys.readouterr().err
    assert not (experiment.run / "checkpoints").exists()


def test_a_training_may_end_with_its_first_validation(experiment):
    experiment.write_revisions()
    steps = ("--trainer.max_steps", 2, "--trainer.val_check_interval", 4, "--trainer.accumulate_grad_batches", 2)
    assert experiment("fit", "--data.batch_size", 4, *steps) == 0
    assert (experiment.run / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--trainer.val_check_interval", 9), "after 9 batches was asked for, and an epoch has 8"),
        (("--trainer.limit_val_batches", 0.01), "0.01 of 1 batches is less than one"),
    ],
    ids=["val_check_interval", "limit_val_batches"],
)
def test_what_lightning_would_fail_at_in_the_midst_is_said_before(experiment, capsys, overrides, message):
    experiment.write_revisions()
    assert experiment("fit", "--data.batch_size", 4, *overrides) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (experiment.run / "checkpoints").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ("--trainer.val_check_interval", 8),
        ("--trainer.val_check_interval", 9, "--trainer.check_val_every_n_epoch", "null"),
        ("--trainer.val_check_interval", 1.0, "--trainer.limit_val_batches", 1),
        ("--trainer.val_check_interval", "00:00:00:00"),
    ],
    ids=lambda overrides: " ".join(map(str, overrides)),
)
def test_intervals_that_can_be_kept_are(experiment, overrides):
    experiment.write_revisions()
    assert experiment("fit", "--data.batch_size", 4, *overrides) == 0
    assert (experiment.run / "adapter" / "adapter_model.safetensors").exists()
