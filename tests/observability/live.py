"""Proves that every expression of the dashboard and every rule gives a series, from a real server and Prometheus.

    python3 tests/observability/live.py PROGRAM

Starts both on free ports, in a folder that is removed afterwards. Lets happen what can happen to a server: a burst that
is more than its queue holds, a worker that is killed, an unload, a refused policy, a Redis that is not there, keys at
their limits, too many connections. Then asks Prometheus.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import sources

# Metrics of which this run need not give a series, and why. Whatever else is on the dashboard has to.
UNSEEN = {
    "modelpool_measured_bytes": "only of GPUs",
    "modelpool_gpu_utilization_ratio": "only of GPUs",
    "modelpool_gpu_temperature_celsius": "only of GPUs",
    "modelpool_gpu_power_watts": "only of GPUs",
    "modelpool_instance_failures_total": "an instance that breaks without its worker cannot be had on demand",
}

POLICY = """
server: {{ listen: "127.0.0.1:0", api_keys_file: keys.yaml, metrics_require_key: true, max_connections: 60 }}
models:
  - name: tidepool-3m
    variants: [ {{ path: "embedded:tidepool-3m-f16.gguf" }} ]
    context_tokens: 1024
    slots: 4
    scale: {{ max_instances: 2 }}
    queue: {{ max_requests: 8 }}
    cache: {{ enabled: true, redis: "redis://127.0.0.1:{redis}" }}
"""


def key(name):
    return f"mp-{hashlib.sha256(name.encode()).hexdigest()}"


def keys_file():
    def entry(name, more):
        return f"  - {{ name: {name}, sha256: \"{hashlib.sha256(key(name).encode()).hexdigest()}\"{more} }}\n"

    return "keys:\n" + entry("operator", ", admin: true") + entry("limited", ", requests_per_minute: 1")


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def until(what, seconds, condition):
    """Waits until `condition` gives something, and gives that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    sys.exit(f"error: {what} did not happen within {seconds} s")


STARTED = []


def start(command, **outputs):
    """A process that ends with this one."""
    STARTED.append(subprocess.Popen(command, **outputs))
    return STARTED[-1]


class Server:
    """The program under test, with an operator's key."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.policy = POLICY.format(redis=free_port())
        (folder / "keys.yaml").write_text(keys_file())
        (folder / "policy.yaml").write_text(self.policy)
        said = (folder / "address").open("w")
        self.process = start([program, "serve", "--policy", folder / "policy.yaml"], stdout=said,
                             stderr=(folder / "server.log").open("w"))
        self.url = until("the server's start", 20, lambda: re.search(r"http://[\d.:]+", (folder / "address").read_text()))[0]

    def ask(self, path, body=None, name="operator"):
        """Status and text of an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"Bearer {key(name)}"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def burst(self, seconds):
        return start([self.program, "bench", "server", "--url", self.url, "--api-key", key("operator"), "--clients", "24",
                      "--seconds", str(seconds), "--max-tokens", "48"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def workers(self):
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    def metric(self, series):
        """The value of a series in /metrics, 0 where it is absent."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.ask("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0


class Prometheus:
    """The real one, with the example's files; it scrapes every second, with the key's file that they describe."""

    def __init__(self, server, folder):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "prometheus.key").write_text(key("operator"))
        text = sources.PROMETHEUS.read_text()
        for old, new in [("127.0.0.1:8080", server.url.removeprefix("http://")), (": 15s", ": 1s"),
                         ("# authorization:", "authorization:"), ("#   credentials_file: /etc/prometheus/modelpool.key",
                                                                  f"  credentials_file: {folder}/prometheus.key")]:
            assert old in text, f"prometheus.yml has no {old}"
            text = text.replace(old, new)
        (folder / "prometheus.yml").write_text(text)
        shutil.copy(sources.RULES, folder)
        start(["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
               f"--web.listen-address=127.0.0.1:{port}"], stderr=(folder / "prometheus.log").open("w"))

    def get(self, path, **arguments):
        """The data of an answer; an expression that cannot be computed raises ValueError, with its error."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None

    def series(self, expression):
        return self.get("query", query=expression)["result"]


def events(server, prometheus):
    """Lets happen what the dashboard shows."""
    until("the first scrape", 20, lambda: prometheus.series("up == 1"))
    story = {"model": "tidepool-3m", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
    assert server.ask("/v1/completions", story)[0] == 200
    burst = server.burst(8)
    until("a burst", 10, lambda: server.metric('modelpool_slots_busy{model="tidepool-3m"}') >= 4)
    os.kill(server.workers()[0], signal.SIGKILL)
    until("a resumed request", 10, lambda: server.metric('modelpool_resumes_total{model="tidepool-3m"}'))
    burst.wait(60)

    # The same again is kept; it is asked for under a key that may do so once a minute.
    statuses = [server.ask("/v1/completions", story, "limited")[0] for _ in range(2)]
    assert statuses == [200, 429], statuses
    assert server.ask("/admin/models/unload", {"model": "tidepool-3m"})[0] == 200
    until("an unload", 20, lambda: server.metric('modelpool_unloads_total{model="tidepool-3m",variant="tidepool-3m-f16"}'))

    (server.folder / "policy.yaml").write_text("models: nothing")
    server.process.send_signal(signal.SIGHUP)
    until("a refused policy", 10, lambda: server.metric('modelpool_policy_reloads_total{outcome="refused"}'))
    (server.folder / "policy.yaml").write_text(server.policy)

    crowd = [socket.create_connection(server.url.removeprefix("http://").split(":")) for _ in range(70)]
    until("a closed connection", 10, lambda: server.metric('modelpool_connections_closed_total{reason="idle"}'))
    for member in crowd:
        member.close()
    server.burst(3).wait(60)
    time.sleep(3)


def lint(server):
    """What promtool says of /metrics."""
    checked = subprocess.run(["promtool", "check", "metrics"], input=server.ask("/metrics")[1], capture_output=True, text=True, check=False)
    return [f"promtool check metrics: {line}" for line in checked.stderr.splitlines()] + \
        ([] if checked.returncode == 0 else ["promtool check metrics failed"])


def panels(prometheus):
    """Faults of the dashboard: expressions without a series, legends that name a label that is not there."""
    faults, seen, unseen = [], 0, []
    for title, expression, legend in sources.expressions():
        query = expression.replace("$__rate_interval", "1m").replace("$server", ".*").replace("$model", ".*")
        try:
            found = prometheus.series(query)
        except ValueError as error:
            faults.append(f"{title}: {query}: {error}")
            continue
        excused = [name for name in UNSEEN if name in expression]
        if not found and excused:
            unseen.append(excused[0])
        elif not found or all(sample["value"][1] == "NaN" for sample in found):
            faults.append(f"{title}: no series for {query}")
        else:
            seen += 1
            missing = set(re.findall(r"\{\{(\w+)\}\}", legend)) - set(found[0]["metric"])
            faults += [f"{title}: {query} has no label {label}" for label in sorted(missing)]
    for variable in sources.dashboard()["templating"]["list"]:
        if asked := re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", "")):
            if not prometheus.get(f"label/{asked[2]}/values", **{"match[]": asked[1]}):
                faults.append(f"the variable {variable['name']} has no values")
    print(f"dashboard: {seen} expressions give series; not seen here:")
    for name in unseen:
        print(f"  {name}: {UNSEEN[name]}")
    return faults


def rules(prometheus):
    """Faults of the rules: what cannot be computed, recorded series that are absent, alerts that err."""
    faults, names = [], sources.recorded()
    loaded = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    faults += [f"{rule['name']}: {rule.get('lastError')}" for rule in loaded if rule["health"] != "ok"]
    faults += [f"{name} is not recorded" for name in names if not prometheus.series(name)]
    faults += [f"{name} is NaN" for name in names if prometheus.series(f"{name} != {name}")]
    states = {rule["name"]: rule["state"] for rule in loaded if rule["type"] == "alerting"}
    # The first refused reload of a server is the first that its counter tells of at all.
    if states["ModelpoolReloadRefused"] != "firing":
        faults.append("ModelpoolReloadRefused does not fire after a refused policy")
    faults += [f"{alert} fires" for alert in ("ModelpoolDown", "ModelpoolCrashLoop", "ModelpoolGpuGone")
               if states[alert] == "firing"]
    # On a busy machine a scrape may miss its second.
    if prometheus.series("avg_over_time(up[1m]) < 0.5"):
        faults.append("most scrapes failed")
    print(f"rules: {len(loaded)} are computed, {len(names)} recorded series are there")
    return faults


def main():
    program = str(Path(sys.argv[1]).resolve())
    folder = Path(tempfile.mkdtemp(prefix="modelpool-observability-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        server = Server(program, folder)
        prometheus = Prometheus(server, folder)
        events(server, prometheus)
        faults = lint(server) + panels(prometheus) + rules(prometheus)
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(f"{log.name}, its end:", *log.read_text().splitlines()[-20:], sep="\n  ", file=sys.stderr)
        raise
    finally:
        for process in STARTED:
            process.terminate()
        for process in STARTED:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(folder)
    if faults:
        sys.exit("\n".join(f"error: {fault}" for fault in faults))


main()
