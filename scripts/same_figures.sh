#!/usr/bin/env bash
# Whether two checkouts of this project come to the same figures: runs the demo of both, then compares what they wrote.
# Usage: scripts/same_figures.sh OLD NEW, two folders; PYTHON names the interpreter, of an environment that fits both.
# A demo that has been run already is not run again: begin with checkouts that hold no runs.
set -euo pipefail

old=$(cd "$1" && pwd)
new=$(cd "$2" && pwd)
python=$(command -v "${PYTHON:-python}")
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")

for checkout in "$old" "$new"; do
  (cd "$checkout" && HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PYTHONPATH=$checkout PYTHON=$python scripts/sandbox_experiment.sh)
done
exec "$python" "$(dirname "$0")/same_figures.py" "$old" "$new"
