# Settings of this site: the one file to edit for another cluster. Sourced by every job (slurm/run.sh), and useful in the
# shell that submits, because sbatch reads its options from SBATCH_* there: `source slurm/site.sh` before `sbatch`.
# shellcheck shell=bash

# Where jobs go; both win over the #SBATCH lines.
# export SBATCH_PARTITION=gpu
# export SBATCH_ACCOUNT=my_project
# export SBATCH_GRES=gpu:1                                       # where A100s have no name of their own

# What the cluster provides as modules.
# module purge && module load cuda python/3.11

# The environment, relative to the project; `make install` makes it.
export CAI_VENV=${CAI_VENV:-.venv}

# Model weights: tens of gigabytes, so rather scratch space than a home folder with a quota.
export HF_HOME=${HF_HOME:-${SCRATCH:-$HOME/.cache}/huggingface}
# export HF_HUB_OFFLINE=1                                        # where compute nodes reach no network

# Secrets (OPENAI_API_KEY, HF_TOKEN) come from the environment that submits, never from a file here: sbatch hands it on.
