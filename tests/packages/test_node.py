"""OpenAI's client for JavaScript, in a process of its own: openai.test.mjs."""

import os
import pathlib
import subprocess

from conftest import ROOT


def test_openais_client_for_javascript(served, narrow):
    folder: pathlib.Path = ROOT / "target" / "clients" / "node"
    environment = {**os.environ, "SERVED": served, "NARROW": narrow}
    command = ["node", "--test", "openai.test.mjs"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
