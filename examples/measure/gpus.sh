#!/usr/bin/env bash
# Measures what a second GPU of this machine brings: two replicas against one, and the model divided between both GPUs,
# by layer and by tensor, against one GPU: how many greedy texts are the same, how much log probabilities differ, and how
# fast it is. Takes about three minutes.
#   bash examples/measure/gpus.sh MODEL.gguf [PROGRAM]
# The divided model is kept off a single GPU by making its headroom large: the model must take at least 2 GiB.
# CLIENTS (of one replica), SLOTS, CONTEXT, TEXTS, SPLITS, PORT and PARTS (replicas, divided) can be set. Needs curl, python3, nvidia-smi.
set -euo pipefail
model=$(realpath "${1:?the model, a GGUF file}") program=${2:-target/release/modelpool}
slots=${SLOTS:-64} context=${CONTEXT:-1024} clients=${CLIENTS:-64} texts=${TEXTS:-16}
port=${PORT:-8080} url=http://127.0.0.1:${PORT:-8080}
work=$(mktemp -d)
export XDG_STATE_HOME=$work # figures of other runs would say that it fits
server=
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }; server=; }
trap 'stop; rm -rf "$work"' EXIT

serve() { # INSTANCES DEVICES ENGINE HEADROOM
  cat >"$work/policy.yaml" <<POLICY
server: { listen: "127.0.0.1:$port" }
devices: { headroom_bytes: $4 }
models:
  - name: measured
    variants: [ { path: "$model" } ]
    context_tokens: $context
    slots: $slots
    devices: $2
    engine: { $3 }
    scale: { min_instances: $1, max_instances: $1 }
POLICY
  "$program" --policy "$work/policy.yaml" >"$work/log" 2>&1 &
  server=$!
  for _ in $(seq 600); do
    [ "$(grep -c "instance ready" "$work/log")" -lt "$1" ] || { grep -o "devices=[^ ]*.*" <(grep "instance ready" "$work/log"); return 0; }
    kill -0 "$server" 2>/dev/null && ! grep -q "never fits" "$work/log" || { cat "$work/log"; exit 1; }
    sleep 0.2
  done
  cat "$work/log" && exit 1
}
bench() { "$program" bench server --url "$url" --ignore-eos --prompt-tokens 262 --max-tokens 128 "$@" | grep -vE '^(http|chat|$)'; }
answers() { # FILE: the log probabilities of the first token and the greedy text of each prompt, one a line
  for at in $(seq "$texts"); do
    curl -sf "$url/v1/completions" -d "{\"model\": \"measured\", \"prompt\": \"Text number $at begins so:\", \"max_tokens\": 48, \"temperature\": 0, \"logprobs\": 5, \"ignore_eos\": true}" | tr -d '\n' && echo
  done >"$1"
}

if [[ " ${PARTS:-replicas divided} " == *" replicas "* ]]; then
  echo "== one replica on one GPU, $clients streams" && serve 1 '[gpu0]' '' 0
  bench --clients "$clients" --requests $((clients * 8)) && stop
  echo "== two replicas on two GPUs, $((clients * 2)) streams" && serve 2 '[gpu0, gpu1]' '' 0
  bench --clients $((clients * 2)) --requests $((clients * 16)) && stop
fi

if [[ " ${PARTS:-replicas divided} " == *" divided "* ]]; then
  echo "== undivided" && serve 1 '[gpu0]' '' 0 && answers "$work/alone"
  bench --clients 1 --requests 8 && bench --clients "$clients" --requests $((clients * 4))
  used=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -i 0) && stop && sleep 1
  read -r total idle < <(nvidia-smi --query-gpu=memory.total,memory.used --format=csv,noheader,nounits -i 0 | tr -d ,)
  # So much that nine tenths of the whole could be taken of an empty GPU.
  headroom=$((total - idle - (used - idle) * 9 / 10))
  for split in ${SPLITS:-layer tensor}; do
    echo "== divided by $split" && serve 1 '[gpu0, gpu1]' "split: $split" "${headroom}MiB" && answers "$work/$split"
    nvidia-smi --query-gpu=index,memory.used --format=csv,noheader
    bench --clients 1 --requests 8 && bench --clients "$clients" --requests $((clients * 4)) && stop
    python3 - "$work/alone" "$work/$split" <<'PYTHON'
import json, sys
alone, divided = ([json.loads(line)["choices"][0] for line in open(path)] for path in sys.argv[1:])
same = sum(one["text"] == other["text"] for one, other in zip(alone, divided))
first = lambda choice: choice["logprobs"]["top_logprobs"][0]
apart = [abs(p - first(other)[token]) for one, other in zip(alone, divided) for token, p in first(one).items() if token in first(other)]
print(f"{same} of {len(alone)} texts are the same; the first token's log probabilities differ by up to {max(apart):.4f} "
      f"({len(apart)} of {sum(len(first(one)) for one in alone)} most probable tokens are the same)")
PYTHON
  done
fi
