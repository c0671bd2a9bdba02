#!/usr/bin/env bash
# Loads models on this machine's GPU, one configuration after the other, and prints what was predicted beside what NVML
# measured, and what a second load takes. About six seconds each.
#   bash examples/measure/memory.sh PROGRAM MODEL.gguf…
# SLOTS and CONTEXTS (lists, "1 8 64" and "2048 8192") and PORT can be set.
set -euo pipefail
program=${1:?the program} port=${PORT:-8080} url=http://127.0.0.1:${PORT:-8080}
shift
work=$(mktemp -d)
export XDG_STATE_HOME=$work
server=
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }; server=; }
trap 'stop; rm -rf "$work"' EXIT

load() { # MODEL SLOTS CONTEXT: prints worker and instance bytes, predicted and measured
  cat >"$work/policy.yaml" <<POLICY
server: { listen: "127.0.0.1:$port" }
devices: { headroom_fraction: 0.01 }
models:
  - name: measured
    variants: [ { path: "$(realpath "$1")" } ]
    context_tokens: $3
    slots: $2
    scale: { min_instances: 1, max_instances: 1 }
POLICY
  "$program" --policy "$work/policy.yaml" >"$work/log" 2>&1 &
  server=$!
  for _ in $(seq 300); do
    grep -qE "instance ready|no headroom|never fits" "$work/log" && break
    kill -0 "$server" 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.1
  done
  sleep 2 # two equal readings make it a fact
  metrics=$(curl -s "$url/metrics")
  stop
  bytes() { grep "^modelpool_$1_bytes{" <<<"$metrics" | grep "part=\"$2\"" | awk '{ printf "%.0f", $2 }'; }
  echo "$(bytes predicted worker) $(bytes predicted instance) $(bytes measured worker) $(bytes measured instance)"
}

printf '%-28s %5s %7s %14s %14s %8s %8s\n' model slots context 'predicted MiB' 'measured MiB' error again
for model in "$@"; do
  for context in ${CONTEXTS:-2048 8192}; do
    for slots in ${SLOTS:-1 8 64}; do
      read -r worker instance real_worker real_instance < <(load "$model" "$slots" "$context") || true
      if [ -z "${real_instance:-}" ]; then
        printf '%-28s %5s %7s %14s\n' "$(basename "$model")" "$slots" "$context" 'does not fit'
        continue
      fi
      read -r _ _ again_worker again_instance < <(load "$model" "$slots" "$context") || true
      awk -v m="$(basename "$model")" -v s="$slots" -v c="$context" -v p=$((worker + instance)) \
        -v r=$((real_worker + real_instance)) -v a=$((again_worker + again_instance)) 'BEGIN {
          printf "%-28s %5d %7d %14.0f %14.0f %+7.2f%% %+7.2f%%\n", m, s, c, p / 1048576, r / 1048576, 100 * (p / r - 1), 100 * (a / r - 1) }'
    done
  done
done
