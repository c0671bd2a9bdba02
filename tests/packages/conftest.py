"""Two servers with the embedded model, as processes of their own: one that is open, and one with keys and a short queue."""

import hashlib
import os
import pathlib
import re
import subprocess
import threading

import anthropic
import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target" / "release" / "modelpool"
MODEL = "tidepool-3m"

OPEN = """
server: { listen: "127.0.0.1:0", drain_timeout_ms: 1000 }
models:
  - { name: tidepool-3m, context_tokens: 1024, scale: { max_instances: 1 },
      variants: [{ path: "embedded:tidepool-3m-f16.gguf" }] }
  - { name: vectors, context_tokens: 512, engine: { pooling: mean }, scale: { max_instances: 1 },
      variants: [{ path: "embedded:tidepool-3m-f16.gguf" }] }
  - { name: scores, context_tokens: 512, engine: { pooling: rank }, scale: { max_instances: 1 },
      variants: [{ path: "embedded:tidepool-3m-f16.gguf" }] }
"""

# One slot and one place in the queue: who comes third is told when to come back.
NARROW = """
server: { listen: "127.0.0.1:0", drain_timeout_ms: 1000, api_keys_file: keys.yaml }
models:
  - { name: tidepool-3m, context_tokens: 1024, slots: 1, queue: { max_requests: 1 }, scale: { max_instances: 1 },
      variants: [{ path: "embedded:tidepool-3m-f16.gguf" }] }
  - { name: vectors, context_tokens: 512, engine: { pooling: mean }, scale: { max_instances: 1 },
      variants: [{ path: "embedded:tidepool-3m-f16.gguf" }] }
"""


def keys():
    """A key without limits, one with few requests, and one that may not ask for all models."""
    rest = {"wide": "", "rare": ", requests_per_minute: 1", "bound": ", models: [vectors]"}
    entry = '- {{ name: {}, sha256: "{}"{} }}\n'
    digest = lambda name: hashlib.sha256(f"mp-{name}".encode()).hexdigest()
    return "keys:\n" + "".join(entry.format(name, digest(name), more) for name, more in rest.items())


class Server:
    """A server that is killed at the end, whatever happens."""

    def __init__(self, folder, policy):
        (folder / "policy.yaml").write_text(policy)
        (folder / "keys.yaml").write_text(keys())
        environment = {**os.environ, "MODELPOOL_CACHE_DIR": str(folder / "cache")}
        command = [PROGRAM, "--policy", folder / "policy.yaml"]
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = None
        for line in self.process.stdout:
            if found := re.search(r"listens on (http://\S+)", line):
                self.url = found.group(1)
                break
        if self.url is None:
            self.stop()
            pytest.exit(f"the server does not start: {(folder / 'log').read_text()}", 1)
        # What it says further is not of interest, and must not fill the pipe.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("open"), OPEN)
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def narrow(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("narrow"), NARROW)
    yield server.url
    server.stop()


def open_ai(url, key="unused", **more):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, **{"max_retries": 0, "timeout": 60, **more})


@pytest.fixture(scope="session")
def client(served):
    with open_ai(served) as client:
        yield client


@pytest.fixture(scope="session")
def claude(served):
    with anthropic.Anthropic(base_url=served, api_key="unused", max_retries=0, timeout=60) as client:
        yield client
