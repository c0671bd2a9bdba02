"""Measures what clients do to each other: shares of three keys, and slow clients beside a normal one.

    python3 examples/measure/clients.py PROGRAM [--clients 500] [--seconds 30] [--rounds 5] [--requests 200]

Serves the embedded model twice. First, clients of three keys with weights 1, 2 and 4 always want something; prints each
key's share of the answers, of the slot time that they took, and its waits. Then one client asks request after request,
in turns alone and beside 200 that read nothing and 200 that never finish their headers; prints its latencies.
"""

import argparse, asyncio, hashlib, json, os, re, socket, statistics, subprocess, sys, tempfile, time

POLICY = """
server: {{ listen: "127.0.0.1:{port}", api_keys_file: keys.yaml, client_timeout_ms: 5000 }}
models:
  - name: tidepool-3m
    variants: [ {{ path: "embedded:tidepool-3m-f16.gguf" }} ]
    context_tokens: 1024
    slots: {slots}
    scale: {{ min_instances: 1, max_instances: 1 }}
"""
WEIGHTS = {"one": 1, "two": 2, "four": 4}


def keys_file():
    rows = [f"- {{ name: {name}, weight: {weight}, sha256: \"{hashlib.sha256(f'mp-{name}'.encode()).hexdigest()}\" }}"
            for name, weight in WEIGHTS.items()]
    return "keys:\n" + "\n".join(rows) + "\n"


def request(name, body):
    data = json.dumps(dict(model="tidepool-3m", **body)).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer mp-{name}\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Client:
    """One connection that is used again and again."""

    async def connect(self, port):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(self, message):
        self.writer.write(message)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        body = await self.reader.readexactly(int(re.search(r"content-length: (\d+)", head).group(1)))
        assert head.startswith("HTTP/1.1 200"), body
        return json.loads(body)


def percentile(values, percent):
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


async def fairness(port, arguments):
    begin, end = time.monotonic() + 5, time.monotonic() + 5 + arguments.seconds
    answers = {name: [] for name in WEIGHTS}

    async def live(name):
        client = Client()
        await client.connect(port)
        message = request(name, dict(prompt="Once upon a time", max_tokens=16, ignore_eos=True))
        while (asked := time.monotonic()) < end:
            await client.ask(message)
            if begin < (now := time.monotonic()) < end:
                answers[name].append(now - asked)
        client.writer.close()

    names = list(WEIGHTS)
    await asyncio.gather(*(live(names[number % 3]) for number in range(arguments.clients)))
    total, weights = sum(map(len, answers.values())), sum(WEIGHTS.values())
    print(f"{arguments.clients} clients, {arguments.seconds} s, {total / arguments.seconds:.0f} requests/s")
    print("| Key | Weight | Share | Of its weight | Wait p50 | p99 | longest |\n|---|---|---|---|---|---|---|")
    for name, waits in answers.items():
        share, fair = len(waits) / total, WEIGHTS[name] / weights
        print(f"| {name} | {WEIGHTS[name]} | {share:.3f} | {share / fair:.3f} | {statistics.median(waits):.2f} s "
              f"| {percentile(waits, 99):.2f} s | {max(waits):.2f} s |")


def deaf(port):
    """Asks for a long stream and reads nothing of it."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect(("127.0.0.1", port))
    stream.sendall(request("one", dict(prompt="Once upon a time", max_tokens=64, stream=True, ignore_eos=True, logprobs=20)))
    return stream


def half_open(port):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthor")
    return stream


async def idle(port):
    """Waits until nobody holds a slot or waits for one."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        held = sum(float(value) for value in re.findall(r"^modelpool_(?:requests_in_flight|queue_depth)\{[^}]*\} ([0-9.]+)$", text, re.M))
        if held == 0:
            return
        await asyncio.sleep(0.1)


async def slow(port, arguments):
    client = Client()
    await client.connect(port)
    message = request("four", dict(prompt="What is 12 + 30?", max_tokens=24, ignore_eos=True))

    async def measure():
        took = []
        for _ in range(arguments.requests):
            asked = time.monotonic()
            await client.ask(message)
            took.append(time.monotonic() - asked)
        return took

    await measure()
    alone, beside, ratios = [], [], []
    for _ in range(arguments.rounds):
        quiet = await measure()
        others = [half_open(port) for _ in range(200)] + [deaf(port) for _ in range(200)]
        # What they ask for is work like any other. Once it is done, they only do not read.
        await asyncio.sleep(0.5)
        await idle(port)
        loud = await measure()
        [other.close() for other in others]
        await idle(port)
        alone, beside = alone + quiet, beside + loud
        ratios.append(statistics.median(loud) / statistics.median(quiet))
    print(f"{arguments.rounds} rounds of {arguments.requests} requests, 200 that do not read and 200 half-open ones")
    for name, took in (("alone", alone), ("beside them", beside)):
        print(f"{name}: p50 {1000 * statistics.median(took):.2f} ms, p99 {1000 * percentile(took, 99):.2f} ms")
    print(f"ratio of the medians: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def serve(program, port, slots, measure, arguments):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("policy.yaml", POLICY.format(port=port, slots=slots)), ("keys.yaml", keys_file())):
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        server = subprocess.Popen([program, "--policy", os.path.join(folder, "policy.yaml")], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.1)
            asyncio.run(measure(port, arguments))
        finally:
            server.terminate()
            server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--port", type=int, default=18095)
    arguments = parser.parse_args()
    if arguments.clients > 500:
        sys.exit("error: the queue of the policy holds 512 requests; give at most 500 --clients")
    serve(arguments.program, arguments.port, 8, fairness, arguments)
    serve(arguments.program, arguments.port, 8, slow, arguments)


main()
