#!/usr/bin/env bash
# Measures one model on this machine as docs/performance.md does: the engine alone, a server under 1, 8 and 64 streams,
# a long prompt beside 16 answers, and a system prompt that all requests share. Takes about three minutes.
#   bash examples/measure/measure.sh MODEL.gguf [PROGRAM]
# SLOTS, INSTANCES (which divide the slots), CONTEXT (tokens of a slot), LONG (tokens of the long prompt), PROMPT, ANSWER,
# CLIENTS, ENGINE (keys of the policy's engine section), PORT and PARTS can be set.
set -euo pipefail
model=${1:?the model, a GGUF file} program=${2:-target/release/modelpool}
slots=${SLOTS:-64} instances=${INSTANCES:-1} context=${CONTEXT:-1024} long=${LONG:-6000} prompt=${PROMPT:-262} answer=${ANSWER:-128}
port=${PORT:-8080} url=http://127.0.0.1:${PORT:-8080}
work=$(mktemp -d)
server=
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }; server=; }
trap 'stop; rm -rf "$work"' EXIT

serve() { # SLOTS CONTEXT
  cat >"$work/policy.yaml" <<POLICY
server: { listen: "127.0.0.1:$port" }
models:
  - name: measured
    variants: [ { path: "$(realpath "$model")" } ]
    context_tokens: $2
    slots: $(($1 / instances))
    engine: { ${ENGINE:-} }
    scale: { min_instances: $instances, max_instances: $instances }
POLICY
  "$program" --policy "$work/policy.yaml" >"$work/log" 2>&1 &
  server=$!
  for _ in $(seq 600); do
    [ "$(grep -c "instance ready" "$work/log")" -lt "$instances" ] || return 0
    kill -0 "$server" 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.2
  done
}
bench() { "$program" bench server --url "$url" --ignore-eos "$@"; }

wanted() { case " ${PARTS:-engine streams prefix long} " in *" $1 "*) echo "== $2" ;; *) return 1 ;; esac; }

if wanted engine "the engine alone"; then
  "$program" bench engine --model "$model" --slots "$slots" --context-tokens "$context" --prompt-tokens "$prompt" \
    --answer-tokens "$answer" --seconds 2 2>"$work/engine.log" || tail -5 "$work/engine.log"
fi

if wanted streams "${CLIENTS:-1 8 64} streams"; then
  serve "$slots" "$context"
  for clients in ${CLIENTS:-1 8 64}; do
    [ "$clients" -le "$slots" ] || continue
    bench --clients "$clients" --requests $((clients * 8)) --prompt-tokens "$prompt" --max-tokens "$answer" | grep -vE '^(http|chat|$)'
  done
  stop
fi

if wanted prefix "100 requests, one at a time, that share a system prompt of 500 tokens"; then
  serve "$slots" "$context"
  bench --clients 1 --requests 100 --prompt-tokens 540 --shared-prefix-tokens 500 --max-tokens 8 | grep -vE '^(http|chat|$)'
  curl -s "$url/metrics" | grep -E '^modelpool_(cached_)?prompt_tokens_total' || true
  stop
fi

if wanted long "16 answers, undisturbed, then beside prompts of $long tokens that come one after the other"; then
  serve 20 $((long * 2)) # before it has asked, bench can guess half too many words
  disturb() { sleep 2; bench --clients 1 --requests 6 --prompt-tokens "$long" --max-tokens 2 >"$work/long"; }
  for beside in nothing prompts; do
    if [ $beside = prompts ]; then disturb & fi
    bench --clients 16 --seconds 8 --prompt-tokens 32 --max-tokens 600 | grep -vE '^(http|chat|$)'
    [ $beside = nothing ] || { wait $!; grep -vE '^(http|chat|$)' "$work/long"; }
  done
fi
