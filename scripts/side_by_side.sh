# shellcheck shell=bash disable=SC2154
# What the experiments' scripts share; they define `cai VERB RUN`, and `work`, a folder that ends with them.

cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=$((cores > 1 ? cores / 2 : 1))

# Two commands at a time, each on half of the cores, are faster than one after the other. Usage: both VERB RUN VERB RUN
both() {
  local log status=0
  log=$(mktemp -p "$work")
  (trap - INT; cai "$3" "$4") >"$log" 2>&1 &  # Ctrl-C, which bash keeps from the background, ends it too
  cai "$1" "$2" || status=$?
  wait $! || status=$?
  cat "$log"
  rm -f "$log"
  return "$status"
}
