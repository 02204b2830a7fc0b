#!/usr/bin/env bash
# A small real language model on real red-team prompts: before fine-tuning, and tuned on revisions of two kinds.
# Usage: scripts/real_experiment.sh, from the root of the project; PYTHON names the interpreter. PROMPTS names a folder
# with the paper's files where there is no network to fetch them from. Started again it goes on.
set -euo pipefail

python=${PYTHON:-python}
source=${PROMPTS:-anthropic}
output=report/smollm2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=SCRIPTDIR/side_by_side.sh
. "$(dirname "$0")/side_by_side.sh"

# Usage: cai VERB RUN
cai() {
  local more=()
  printf '\n== %s %s\n' "$1" "$2"
  [ "$1" = fit ] || more+=(--data.prompts "$source")
  [ "$1" != predict ] || more+=(--model.constitution "$source")
  "$python" -m cai_lightning "$1" --config "configs/smollm2_$2.yaml" "${more[@]}"
}

start=$SECONDS
both predict contextual predict random
both fit contextual fit random
both validate base validate contextual
cai validate random
"$python" -m cai_lightning compare runs/smollm2_base runs/smollm2_random runs/smollm2_contextual --output "$output"
"$python" -m cai_lightning inspect runs/smollm2_random runs/smollm2_contextual --output "$output/revisions"

cat <<END

Done in $((SECONDS - start)) seconds. Look at
  $output/index.html                       which model is better, how sure that is, and every conversation
  $output/revisions/                       what the revisions are made of: commentary, loops, cuts, principles
  runs/smollm2_contextual/revisions.jsonl    every prompt with its response, critique and revision
  runs/smollm2_contextual/responses.jsonl    what the fine-tuned model answers
A model of 135 million parameters is a poor writer and a worse critic: docs/experiments.md says what to expect.
END
