"""What /openapi.json says, tried on a running server by schemathesis; schemathesis.toml says how."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def test_the_document_is_true(served, tmp_path):
    program = pathlib.Path(sys.executable).with_name("schemathesis")
    command = [program, "--config-file", HERE / "schemathesis.toml", "run", f"{served}/openapi.json"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
