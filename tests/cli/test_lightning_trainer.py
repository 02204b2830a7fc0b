"""A plain mistake in the trainer's settings ends in one line before anything is written, whoever finds it."""

import inspect
from functools import reduce
from operator import or_

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from cai_lightning.cli.lightning_trainer import CUTS, check, count_before_share
from cai_lightning.run.errors import UserError

CUT = "in the midst of its rows; take fewer of them: data.limit"
MISTAKES = {
    ("precision", "nonsense"): "nonsense",
    ("precision", "transformer-engine"): "trainer: Requirement 'transformer_engine",
    ("precision", "bf16-true"): "set bf16-mixed",
    ("accumulate_grad_batches", "0"): "trainer.accumulate_grad_batches: a number above 0 expected, found 0",
    ("max_epochs", "-2"): "max_epochs",
    ("max_epochs", "-1"): "set trainer.max_epochs or trainer.max_steps",
    ("gradient_clip_algorithm", "nonsense"): "nonsense",
    ("strategy", "nonsense"): "nonsense",
    ("accelerator", "nonsense"): "nonsense",
    ("devices", "0"): "0",
    ("devices", "-1"): "trainer: `devices`",
    ("max_time", "nonsense"): "nonsense",
    ("profiler", "nonsense"): "profiler",
    ("limit_train_batches", "1"): CUT,
    ("limit_val_batches", "-1"): "limit_val_batches",
    ("enable_checkpointing", "false"): "enable_checkpointing",
    ("barebones", "true"): "barebones",
}
"""What the parser, Lightning or `check` says of a setting."""

DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(Trainer).parameters.items()}
DEFAULTS["use_distributed_sampler"] = False


@pytest.mark.parametrize(("setting", "message"), MISTAKES.items(), ids=[" ".join(setting) for setting in MISTAKES])
def test_a_mistake_is_one_line(experiment, capsys, setting, message):
    experiment.write_revisions()
    name, value = setting
    assert experiment("fit", f"--trainer.{name}", value) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert message in said
    assert not (experiment.run / "adapter").exists()
    assert not (experiment.run / "checkpoints").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("accumulate_grad_batches", 0, "a number above 0 expected, found 0"),
        ("accumulate_grad_batches", -2, "a number above 0 expected, found -2"),
        ("check_val_every_n_epoch", 0, "a number above 0 expected, found 0"),
        ("val_check_interval", 0, "a number above 0 expected, found 0"),
        ("max_epochs", 0, "nothing is learned in 0"),
        ("max_steps", 0, "nothing is learned in 0"),
    ],
)
def test_a_training_that_would_fail_or_learn_nothing_is_refused(name, value, message):
    check("fit", DEFAULTS)
    with pytest.raises(UserError, match=f"trainer.{name}: {message}"):
        check("fit", {**DEFAULTS, name: value})


@pytest.mark.parametrize(("verb", "own"), CUTS.items())
def test_no_row_is_left_out_by_a_setting_of_the_trainer(verb, own):
    refused = [(own, value) for value in (0, 1, 2, 0.5, 0.0)]
    refused += [("overfit_batches", 2), ("overfit_batches", 0.5), ("fast_dev_run", True), ("fast_dev_run", 3)]
    for name, value in refused:
        with pytest.raises(UserError, match=rf"trainer.{name} would end {verb} {CUT}"):
            check(verb, {**DEFAULTS, name: value})
    with pytest.raises(UserError, match=r"trainer.use_distributed_sampler: rows are shared out among the processes"):
        check(verb, {**DEFAULTS, "use_distributed_sampler": True})
    check(verb, {**DEFAULTS, own: 1.0, "limit_test_batches": 1})


@pytest.mark.parametrize("verb", ["predict", "validate"])
def test_all_rows_is_all_rows(experiment, capsys, verb):
    assert experiment(verb, f"--trainer.{CUTS[verb]}", "1") == 1
    said = capsys.readouterr().err
    assert (said.count("error: "), f"error: trainer.{CUTS[verb]} would end {verb}" in said) == (1, True)
    assert not experiment.run.exists()
    if verb == "validate":
        experiment.write_revisions()
    assert experiment(verb, f"--trainer.{CUTS[verb]}", "1.0") == 0


def test_all_batches_is_all_batches(experiment):
    experiment.write_revisions()
    assert experiment("fit", "--trainer.limit_train_batches", "1.0") == 0


@pytest.mark.parametrize("order", [(int, float, None), (float, int, None), (float, int, dict[str, int], str)])
def test_one_is_a_number_and_one_point_nought_all_of_them(order):
    parser = LightningArgumentParser()
    parser.add_argument("--limit", type=reduce(or_, order))
    parser.add_argument("--other", type=float)
    count_before_share(parser)
    limits = [parser.parse_args([f"--limit={text}"]).limit for text in ("1", "1.0", "0.5")]
    assert [(type(limit), limit) for limit in limits] == [(int, 1), (float, 1.0), (float, 0.5)]
    assert parser.parse_args(["--other=1"]).other == 1.0
