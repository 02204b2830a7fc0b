# The body of predict.sbatch, fit.sbatch and validate.sbatch: runs one verb with `srun` on what the job was given.
#     source slurm/run.sh VERB CONFIG.yaml [OVERRIDES]
# A job that is killed, preempted or out of time is submitted again with the same command and goes on where it stopped.
# shellcheck shell=bash
set -euo pipefail

fail() {
  echo "slurm/$verb.sbatch: $1" >&2
  exit 2
}

verb=$1
shift
[ $# -gt 0 ] || fail "no configuration named. Usage: sbatch slurm/$verb.sbatch configs/mistral_contextual.yaml [overrides]"
config=$1
shift
[ -f "$config" ] || fail "no such configuration: $config (looked for in $PWD)"

# shellcheck source=/dev/null
source slurm/site.sh
[ -f "$CAI_VENV/bin/activate" ] || fail "no environment at $CAI_VENV: make install, or name another in slurm/site.sh"
# shellcheck source=/dev/null
source "$CAI_VENV/bin/activate"

export PYTHONUNBUFFERED=1                                        # the log shows a row when it is done
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}              # srun does not inherit it since Slurm 22.05

# exec: the job's exit status is that of the work, and signals reach srun itself.
# --kill-on-bad-exit: where one of several tasks ends before its time, the others do not wait for it.
exec srun --kill-on-bad-exit=1 python -m cai_lightning "$verb" --config "$config" "$@"
