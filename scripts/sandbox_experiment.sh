#!/usr/bin/env bash
# The experiment of this project, in the sandbox: four models, the same test prompts, one table.
# Usage: scripts/sandbox_experiment.sh, from the root of the project; PYTHON names the interpreter.
# Started again it goes on.
set -euo pipefail

python=${PYTHON:-python}
work=$(mktemp -d)
# shellcheck source=SCRIPTDIR/side_by_side.sh
. "$(dirname "$0")/side_by_side.sh"

# Moderation and judge are asked for over HTTP; a port of its own lets several of these scripts run at once.
"$python" -m cai_lightning.sandbox serve --port 0 >"$work/service" &
service=$!
trap 'kill "$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; rm -rf "$work"' EXIT

# Usage: cai VERB RUN OPTION...
cai() {
  local more=() address
  printf '\n== %s %s\n' "$1" "$2"
  if [ "$1" = validate ]; then
    address=$(address) || return
    more+=(--shared.service "$address")
  fi
  "$python" -m cai_lightning "$1" --config "configs/sandbox_$2.yaml" "${more[@]}" "${@:3}"
}

# Where the services answer, once they do.
address() {
  until grep -q '^serving on ' "$work/service"; do
    kill -0 "$service" 2>/dev/null || return
    sleep 0.2
  done
  sed -n 's/^serving on //p' "$work/service"
}

start=$SECONDS
both predict contextual predict random
both fit contextual fit random
both fit control validate base
both validate contextual validate random
both validate control validate revisions
cai validate revisions --run runs/sandbox_round1 --model.engine.init_args.field rounds.0.revision
"$python" -m cai_lightning compare runs/sandbox_base runs/sandbox_control runs/sandbox_random runs/sandbox_contextual \
  --rounds runs/sandbox_round1 runs/sandbox_revisions

cat <<END

Done in $((SECONDS - start)) seconds. Look at
  report/index.html                          which model is better, how sure that is, and every conversation
  report/report.md                           the tables alone
  runs/sandbox_contextual/revisions.jsonl    every prompt with its response, critiques and revisions
  runs/sandbox_contextual/responses.jsonl    what the fine-tuned model answers
  runs/sandbox_contextual/adapter/           the adapter
END
