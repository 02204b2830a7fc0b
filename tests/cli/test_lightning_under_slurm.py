"""Under Slurm, Lightning's own checkpoint is neither written nor read, and SIGUSR1 ends a verb as a kill does."""

import os
import random
import signal
import subprocess
import sys

import pytest
from safetensors.torch import load_file

HOOKS = (
    "on_train_batch_start",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "on_train_batch_end",
    "on_validation_batch_start",
    "on_validation_end",
    "on_train_epoch_end",
)
SIGNALLED = """
import os, signal
from lightning.pytorch import Callback

heard = []


class Heard(Callback):
    \"\"\"Notes what SIGUSR1 would do.\"\"\"

    def on_train_start(self, trainer, pl_module):
        heard.append(signal.getsignal(signal.SIGUSR1))

    on_predict_start = on_validation_start = on_train_start


class Signalled(Callback):
    \"\"\"Gets SIGUSR1 when a hook is called for the nth time.\"\"\"

    def __init__(self, hook: str, nth: int):
        self.left = nth
        setattr(self, hook, self._count)

    def _count(self, trainer, *others):
        self.left -= not trainer.sanity_checking
        if not self.left:
            os.kill(os.getpid(), signal.SIGUSR1)
"""


NODE_OF_FOUR = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}


@pytest.fixture
def job(experiment, tmp_path, monkeypatch):
    """The experiment in a job of one task."""
    (tmp_path / "signalled.py").write_text(SIGNALLED)
    sys.modules.pop("signalled", None)
    for name in ("SLURM_NTASKS", "SLURM_JOB_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"):
        monkeypatch.setenv(name, {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "12345"}.get(name, "0"))
    experiment.write_revisions()
    return experiment


def trained(experiment):
    return load_file(experiment.run / "adapter" / "adapter_model.safetensors")


def stop(experiment, step):
    callback = {"class_path": "outside.Stopped", "init_args": {"step": step}}
    experiment.sections["fit"]["trainer"]["callbacks"] = [callback]
    experiment.save()
    assert experiment("fit", "--checkpoint_every", 1) == 9
    del experiment.sections["fit"]["trainer"]["callbacks"]
    experiment.save()


def test_a_training_goes_on_from_its_own_checkpoint(job, caplog):
    assert job("fit") == 0
    expected, other = trained(job), (job.run / "checkpoints" / "last.ckpt").read_bytes()
    for step in (4, 7):
        job.run = job.run.with_name(f"stopped_at_{step}")
        job.write_revisions()
        stop(job, step)
        (job.run / "hpc_ckpt_3.ckpt").write_bytes(other)
        caplog.clear()
        with caplog.at_level("INFO"):
            assert job("fit", "--checkpoint_every", 1) == 0
        assert "hpc_ckpt_3.ckpt: Lightning has written this" in caplog.text
        assert all(trained(job)[name].equal(value) for name, value in expected.items())


def test_begun_anew_nothing_of_the_old_training_is_left(job):
    assert job("fit") == 0
    expected, old = trained(job), (job.run / "checkpoints" / "last.ckpt").read_bytes()
    (job.run / "hpc_ckpt_1.ckpt").write_bytes(old)
    assert job("fit", "--fresh") == 0
    assert (job.run / "before-1" / "hpc_ckpt_1.ckpt").read_bytes() == old
    assert not (job.run / "hpc_ckpt_1.ckpt").exists()
    assert all(trained(job)[name].equal(value) for name, value in expected.items())


@pytest.mark.parametrize("verb", ["predict", "fit", "validate"])
def test_what_another_verb_has_left_is_passed_over(job, verb):
    if verb == "predict":
        (job.run / "revisions.jsonl").unlink()
    (job.run / "hpc_ckpt_1.ckpt").write_bytes(b"no checkpoint of a training")
    assert job(verb) == 0


@pytest.mark.parametrize("verb", ["predict", "fit", "validate"])
def test_lightning_does_not_listen_to_sigusr1(job, verb):
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    try:
        callbacks = [{"class_path": "signalled.Heard"}]
        job.sections[verb]["trainer"] = {**job.sections[verb]["trainer"], "callbacks": callbacks}
        job.save()
        if verb == "predict":
            (job.run / "revisions.jsonl").unlink()
        assert job(verb) == 0
        import signalled

        assert signalled.heard[-1] == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_told_by_sigusr1_at_any_place_it_goes_on_to_the_same_adapter(job, seed, tmp_path):
    assert job("fit") == 0
    expected = trained(job)
    job.run = job.run.with_name("signalled")
    job.write_revisions()
    draw = random.Random(seed)
    place = {"hook": draw.choice(HOOKS), "nth": draw.randint(1, 2)}
    job.sections["fit"]["trainer"]["callbacks"] = [{"class_path": "signalled.Signalled", "init_args": place}]
    job.save()
    command = [sys.executable, "-m", "cai_lightning", *job.arguments("fit", "--checkpoint_every", "1")]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == -signal.SIGUSR1, done.stderr[-3000:]
    assert not list(job.run.glob("hpc*"))
    del job.sections["fit"]["trainer"]["callbacks"]
    job.save()
    assert job("fit", "--checkpoint_every", 1) == 0
    assert all(trained(job)[name].equal(value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("verb", "variables", "devices", "message"),
    [
        ("fit", {"SLURM_NTASKS": "4"}, 1, "srun --ntasks-per-node=N, N being trainer.devices"),
        ("predict", NODE_OF_FOUR, 1, "has 4 tasks (SLURM_NTASKS), and the trainer wants 1"),
        ("fit", NODE_OF_FOUR, 1, "has 4 tasks (SLURM_NTASKS), and the trainer wants 1"),
        ("validate", {"SLURM_NTASKS": "1"}, 2, "has 1 tasks (SLURM_NTASKS), and the trainer wants 2"),
        ("predict", {**NODE_OF_FOUR, "SLURM_PROCID": None}, 4, "none of which this process is"),
    ],
)
def test_a_job_of_another_size_is_told_in_one_line(job, verb, variables, devices, message, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    assert job(verb, "--trainer.devices", devices) == 1
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert message in said


def test_without_slurm_nothing_is_asked(experiment, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # a shell within a job
    experiment.write_revisions()
    assert experiment("fit") == 0
