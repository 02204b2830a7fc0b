#!/usr/bin/env bash
# The experiment of this project, in the sandbox: four models, the same test prompts, one table.
# Usage: scripts/sandbox_experiment.sh, from the root of the project; PYTHON names the interpreter. Started again it goes on.
set -euo pipefail

cai() {
  printf '\n== %s %s\n' "$1" "$2"
  "${PYTHON:-python}" -m cai_lightning "$1" --config "configs/sandbox_$2.yaml"
}

# Two commands at a time, each on half of the cores, are faster than one after the other. Usage: both VERB RUN VERB RUN
both() {
  local log status=0
  log=$(mktemp)
  cai "$3" "$4" >"$log" 2>&1 &
  cai "$1" "$2" || status=$?
  wait $! || status=$?
  cat "$log"
  rm -f "$log"
  return "$status"
}

cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=$((cores > 1 ? cores / 2 : 1))
start=$SECONDS
both predict contextual predict random
both fit contextual fit random
both fit control validate base
both validate contextual validate random
both validate control validate revisions
"${PYTHON:-python}" -m cai_lightning compare \
  runs/sandbox_base runs/sandbox_control runs/sandbox_random runs/sandbox_contextual runs/sandbox_revisions

cat <<END

Done in $((SECONDS - start)) seconds. Look at
  report/index.html                          which model is better, how sure that is, and every conversation
  report/report.md                           the tables alone
  runs/sandbox_contextual/revisions.jsonl    every prompt with its response, critiques and revisions
  runs/sandbox_contextual/responses.jsonl    what the fine-tuned model answers
  runs/sandbox_contextual/adapter/           the adapter
END
