#!/bin/sh
# Proves that the rules in examples/prometheus and the dashboard in examples/grafana fit what the server tells:
# promtool finds no fault and the rules' tests pass; a real Prometheus scrapes a real server, and gives a series for
# every expression. `make observability` builds the server and runs this; it takes about a minute.
#   sh tests/observability/run.sh [PROGRAM]       PROGRAM: target/release/modelpool unless it is given
set -eu
cd "$(dirname "$0")/../.."
export PYTHONDONTWRITEBYTECODE=1

# Debian's package is a service as well: where systemd runs, it starts one at port 9090, which this does not use.
sh .cargo/tools.sh python3 promtool prometheus

promtool check config examples/prometheus/prometheus.yml
promtool check rules examples/prometheus/rules.yml
promtool test rules examples/prometheus/*_test.yml
python3 examples/grafana/dashboard.py --check
python3 tests/observability/names.py
exec python3 tests/observability/live.py "${1:-target/release/modelpool}"
