"""Reads what is compared: the server's metrics, the dashboard's expressions, the rules, and the manual's headings."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "examples/prometheus/prometheus.yml"
RULES = ROOT / "examples/prometheus/rules.yml"
DASHBOARD = ROOT / "examples/grafana/dashboards/modelpool.json"


def metrics():
    """Names of all metrics, with their kinds."""
    table = (ROOT / "src/telemetry/names.rs").read_text()
    return {name: kind for kind, name in re.findall(r"(counter|gauge|histogram) \w+ = \"(\w+)\"", table)}


def dashboard():
    return json.loads(DASHBOARD.read_text())


def expressions():
    """(panel, expression, legend) of everything that the dashboard asks for."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target["legendFormat"]


def recorded():
    """Names of the recorded series."""
    return re.findall(r"- record: (\S+)", RULES.read_text())


def anchors(document):
    """What a link to a heading of the document may name."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
