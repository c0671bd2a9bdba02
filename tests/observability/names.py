"""Proves that rules and dashboard name metrics that exist, that no metric is missing on the dashboard, and that each
alert's runbook is in the manual."""

import re
import sys

import sources


def used(text):
    """Metrics in a text, without the ends that a histogram's series have."""
    kinds = sources.metrics()
    names = set(re.findall(r"\bmodelpool_\w+", text))
    bases = {name: re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    return {base if kinds.get(base) == "histogram" else name for name, base in bases.items()}


def main():
    faults = []
    known = set(sources.metrics())
    shown = used("\n".join(expression for _, expression, _ in sources.expressions()))
    rules = sources.RULES.read_text()
    faults += [f"the dashboard names {name}, which does not exist" for name in sorted(shown - known)]
    faults += [f"the dashboard does not show {name}" for name in sorted(known - shown)]
    faults += [f"rules.yml names {name}, which does not exist" for name in sorted(used(rules) - known)]

    series = set(sources.recorded())
    faults += [f"rules.yml uses {name}, which it does not record"
               for name in sorted(set(re.findall(r"\bmodelpool:[\w:]+", rules)) - series)]
    tests = "".join(path.read_text() for path in sources.RULES.parent.glob("*_test.yml"))
    faults += [f"no test asks for {name}" for name in sorted(series) if name not in tests]

    for alert, body in re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", rules, re.DOTALL):
        for key in ("for:", "severity:", "summary:", "description:"):
            if key not in body:
                faults.append(f"{alert} has no {key}")
        document, _, anchor = re.search(r"runbook_url: (\S+)", body).group(1).partition("#")
        if anchor not in sources.anchors(document):
            faults.append(f"{alert}: {document} has no heading for #{anchor}")
        fires = re.search(rf"alertname: {alert}\n\s+eval_time", tests)
        quiet = re.search(rf"alertname: {alert}, .*exp_alerts: \[\]", tests)
        if not (fires and quiet):
            faults.append(f"no test lets {alert} fire, or none keeps it quiet")

    for panel in sources.dashboard()["panels"]:
        if panel["type"] != "row" and not panel["description"]:
            faults.append(f"the panel {panel['title']} has no description")
    if faults:
        sys.exit("\n".join(f"error: {fault}" for fault in faults))
    print(f"names: {len(known)} metrics, all on the dashboard; rules and runbooks fit")


main()
