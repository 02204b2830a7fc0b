#!/usr/bin/env bash
# What this project does on a GPU, in one JSON file, within eight minutes; a step that fails or takes too long loses none
# of the others.
# Usage: scripts/gpu_check.sh --output FILE [--corpus FILE] [--peers DIR] [--wheels DIR] [--seconds N] [--only NAMES]
#   [--dry]
#   --corpus   JSON Lines with the fields prompt and revision; --dry makes its own
#   --peers    folder of trl_sft.py and naive_generation.py; without it their steps are "not run"
#   --wheels   folder of packages that this machine lacks, installed for this run alone
#   --seconds  of all steps together (460)
#   --only     names of steps, between commas, instead of all
#   --dry      the same steps with tiny models, also on a CPU; nobody waits for it, so every limit is five times as long
# PYTHON names the interpreter. Where torch, transformers, lightning, peft, torchmetrics and sentence-transformers are,
# nothing else is needed but for TRL, as wheels of 2 MB: pip download --no-deps -d DIR trl==1.16.0 datasets dill multiprocess
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
output='' wheels='' only='' seconds=460 slack=1 options=()
while [ $# -gt 0 ]; do
  case $1 in
    --output) output=$2; shift 2 ;;
    --wheels) wheels=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --only) only=,$2,; shift 2 ;;
    --corpus | --peers) options+=("$1" "$2"); shift 2 ;;
    --dry) options+=("$1") slack=5; shift ;;
    *) echo "scripts/gpu_check.sh: unknown option $1" >&2; exit 2 ;;
  esac
done
[ -n "$output" ] || { echo "scripts/gpu_check.sh: --output FILE is missing" >&2; exit 2; }

export PYTHONPATH="$work/site:$root${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
export PYTHONDONTWRITEBYTECODE=''  # else each of many processes compiles all packages anew
if [ -n "$wheels" ]; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" "$wheels"/*.whl
fi

# Usage: step NAME SECONDS; it has so many, or what is left of all.
step() {
  local began=$SECONDS limit=$((slack * $2)) left=$((slack * seconds - SECONDS)) code=0
  [[ -z $only || $only == *,$1,* ]] || return 0
  [ "$left" -ge "$limit" ] || limit=$left
  if [ "$limit" -gt 0 ]; then
    timeout --kill-after 5 "$limit" "$python" "$root/scripts/gpu_check.py" "$1" --work "$work" "${options[@]}" \
      >"$work/$1.log" 2>&1 || code=$?
  else
    code=124 && echo "no time was left" >"$work/$1.log"
  fi
  printf '%s %s %s\n' "$1" "$code" "$((SECONDS - began))" | tee -a "$work/steps"
}

step equal 90  # alone: transformers' batching takes nearly all of the GPU's memory
# What is not timed runs side by side.
step machine 60 &
step memory 90 &
step attention 60 &
step verbs 120 &
step model-3b 90 &
step model-7b 90 &
wait
step slots-3b 75
step paged-3b 75
step naive-3b 75
step train-3b 75
step trl-3b 90
step train-7b 75
step trl-7b 90
"$python" "$root/scripts/gpu_check.py" merge --work "$work" --output "$output" --seconds "$SECONDS" "${options[@]}"
