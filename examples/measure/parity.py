"""Puts a burst through a real server and through the simulator, and draws both timelines beside each other.

    python3 examples/measure/parity.py PROGRAM OUT.svg [--rate 60] [--seconds 10] [--model FILE --device gpu0] ...

Calibrates the simulator on this machine, serves a model (the embedded one on the CPU, with one thread each of two instances
at most), sends requests at random times for some seconds, and looks at /metrics five times a second. The simulator replays
the times at which they came. Prints the decisions of both and the percentiles of the time to the first token. Takes about a
minute.
"""

import argparse, json, os, re, subprocess, sys, tempfile, threading, time, urllib.request

POLICY = """
server: {{ listen: "127.0.0.1:{port}" }}
models:
  - name: measured
    variants: [ {{ path: "{model}" }} ]
    context_tokens: {context}
    slots: {slots}
    devices: [ {device} ]
    engine: {{ threads: {threads} }}
    scale: {{ max_instances: {instances}, target_queue_wait_ms: {target}, scale_down_after_ms: 3000, idle_unload_after_ms: 20000 }}
"""


def metric(text, name):
    rows = re.findall(rf"^{name}(?:\{{[^}}]*\}})? ([0-9.e+-]+)$", text, re.M)
    return sum(float(value) for value in rows)


def watch(url, began, seen, stop):
    while not stop.is_set():
        text = urllib.request.urlopen(url + "/metrics").read().decode()
        ready = sum(float(v) for v in re.findall(r'^modelpool_instances\{[^}]*state="ready"[^}]*\} ([0-9.]+)$', text, re.M))
        seen.append((time.time() - began, ready, metric(text, "modelpool_queue_depth")))
        time.sleep(0.2)


def wait_for(url, server):
    while server.poll() is None:
        try:
            return urllib.request.urlopen(url + "/health").read()
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server ended; is the port free?")


def percentile(values, percent):
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def draw(path, panels, seconds):
    width, height, left, gap = 760, 120, 48, 34
    parts = []
    for at, (title, unit, real, simulated) in enumerate(panels):
        top = 24 + at * (height + gap)
        most = max([value for _, value in real + simulated] + [1])
        x = lambda t: left + (width - left - 12) * t / seconds
        y = lambda v: top + height - (height - 8) * v / most
        parts.append(f'<text x="{left}" y="{top - 6}" class="t">{title}</text><text x="{left - 6}" y="{top + 12}" text-anchor="end">{most:.0f}{unit}</text>'
                     f'<text x="{left - 6}" y="{top + height}" text-anchor="end">0</text><path class="axis" d="M{left} {top}V{top + height}H{width - 12}"/>')
        for name, rows in (("real", real), ("simulated", simulated)):
            steps = "".join(f"{'M' if i == 0 else 'H'}{x(t):.1f}{' ' if i == 0 else 'V'}{y(v):.1f}" for i, (t, v) in enumerate(rows) if t <= seconds)
            parts.append(f'<path class="{name}" d="{steps}"/>')
    bottom = 24 + len(panels) * (height + gap) - gap
    ticks = "".join(f'<text x="{left + (width - left - 12) * t / seconds:.0f}" y="{bottom + 16}" text-anchor="middle">{t} s</text>' for t in range(0, int(seconds) + 1, 5))
    style = ("text{font:12px system-ui,sans-serif;fill:#555}.t{font-weight:600;fill:#222}path{fill:none}.axis{stroke:#bbb}.real{stroke:#1f6feb;stroke-width:2}"
             ".simulated{stroke:#d9480f;stroke-width:2;stroke-dasharray:5 3}"
             "@media(prefers-color-scheme:dark){text{fill:#aaa}.t{fill:#eee}.axis{stroke:#555}}")
    legend = f'<text x="{width - 170}" y="18" style="fill:#1f6feb">real server</text><text x="{width - 88}" y="18" style="fill:#d9480f">simulated</text>'
    with open(path, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 24}" role="img"><title>A burst, real and simulated</title><style>{style}</style>{legend}{"".join(parts)}{ticks}</svg>\n')


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("program"), parse.add_argument("out")
    for name, value in (("--rate", 60), ("--seconds", 10), ("--prompt-tokens", 16), ("--max-tokens", 32), ("--slots", 8), ("--port", 8095),
                        ("--context", 1024), ("--instances", 2), ("--threads", 1), ("--target", 200)):
        parse.add_argument(name, type=int, default=value)
    parse.add_argument("--count-from", type=int, default=0, help="seconds whose requests are not counted: while the first instance loads")
    parse.add_argument("--model", default="embedded:tidepool-3m-f16.gguf"), parse.add_argument("--device", default="host")
    parse.add_argument("--parallel", type=float, help="instances that compute at full speed at once, beside server and client")
    args = parse.parse_args()
    program, url, quiet = os.path.abspath(args.program), f"http://127.0.0.1:{args.port}", 25
    on_gpu = args.device != "host"
    model = args.model if args.model.startswith("embedded:") else os.path.abspath(args.model)
    with tempfile.TemporaryDirectory() as folder:
        place = lambda name: os.path.join(folder, name)
        with open(place("p.yaml"), "w") as file:
            file.write(POLICY.format(**{**vars(args), "model": model}))
        run = lambda *words: subprocess.run([program, *words], check=True, stdout=subprocess.PIPE, cwd=folder).stdout
        run("bench", "engine", "--policy", "p.yaml", "--calibrate", "machine.json", "--seconds", "2", *(() if on_gpu else ("--cpu", "--request-seconds", "0.002")))
        if args.parallel:
            machine = [{**service, "parallel_instances": args.parallel} for service in json.load(open(place("machine.json")))]
            json.dump(machine, open(place("machine.json"), "w"))
        with open(place("log"), "w") as log:
            server = subprocess.Popen([program, "--policy", "p.yaml"], cwd=folder, stdout=subprocess.DEVNULL, stderr=log)
        try:
            wait_for(url, server)
            seen, stop, began = [], threading.Event(), time.time()
            watcher = threading.Thread(target=watch, args=(url, began, seen, stop))
            watcher.start()
            run("bench", "server", "--url", url, "--rate", str(args.rate), "--seconds", str(args.seconds), "--prompt-tokens", str(args.prompt_tokens),
                "--max-tokens", str(args.max_tokens), "--ignore-eos", "--record", "traffic.jsonl")
            time.sleep(quiet)
            stop.set(), watcher.join()
        finally:
            server.terminate(), server.wait()
        report = json.loads(run("simulate", "--policy", "p.yaml", "--machine", "machine.json", "--trace", "traffic.jsonl", "--tail-seconds", str(quiet), "--count-from", str(args.count_from), "--json"))
        rows = [json.loads(line) for line in open(place("traffic.jsonl"))]
        log = open(place("log")).read()
    offset = next((t for t, ready, waiting in seen if ready or waiting), 0.2) - 0.2
    first = min(row["timestamp"] for row in rows)
    real = [row["ttft_ms"] / 1000 for row in rows if row["timestamp"] - first >= args.count_from]
    simulated = report["plans"][0]["ttft_seconds"]
    for percent in (50, 90, 99):
        one, other = percentile(real, percent), simulated[f"p{percent}"]
        print(f"TTFT p{percent}: real {one:.3f} s, simulated {other:.3f} s ({100 * (other / one - 1):+.0f} %)")
    decided = re.findall(r"scaling model=\S+ target=(\d+) starts=(\d+) drains=(\d+) reason=([^\n]*)", log)
    print("real:", *(f"  +{starts} -{drains} {reason}" for _, starts, drains, reason in decided if int(starts) + int(drains)), sep="\n")
    print("simulated:", *(f"  {note['millis'] / 1000:.1f} s +{note['starts']} -{note['drains']} {note['why']}" for note in report["decisions"]), sep="\n")
    line = report["timeline"]
    moments = [(i * line["stretch_seconds"], m) for i, m in enumerate(line["stretches"])]
    shifted = [(t - offset, ready, waiting) for t, ready, waiting in seen if t >= offset]
    draw(args.out, [
        ("Instances that are ready", "", [(t, r) for t, r, _ in shifted], [(t, sum(m["ready"])) for t, m in moments]),
        ("Requests that wait", "", [(t, w) for t, _, w in shifted], [(t, m["waiting"]) for t, m in moments]),
    ], args.seconds + quiet)


if __name__ == "__main__":
    sys.exit(main())
