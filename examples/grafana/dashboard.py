"""Writes dashboards/modelpool.json, which Grafana reads.

    python3 examples/grafana/dashboard.py           writes it
    python3 examples/grafana/dashboard.py --check   says whether it is up to date

Change panels here, not in the JSON: this keeps units, legends and places alike.
"""

import json
import sys
from pathlib import Path

TARGET = Path(__file__).parent / "dashboards" / "modelpool.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
S = 'instance=~"$server"'
M = 'instance=~"$server", model=~"$model"'


def rate(name, by="", labels=M):
    return f"sum by ({by}) (rate({name}{{{labels}}}[$__rate_interval]))" if by else \
        f"sum(rate({name}{{{labels}}}[$__rate_interval]))"


def count(name, by, labels=M):
    """Events in each interval of the picture."""
    return f"sum by ({by}) (increase({name}{{{labels}}}[$__rate_interval]))"


def total(name, by="", labels=M):
    return f"sum by ({by}) ({name}{{{labels}}})" if by else f"sum({name}{{{labels}}})"


def quantile(share, name, by="", labels=M):
    return f"histogram_quantile({share}, {rate(name + '_bucket', f'{by}, le' if by else 'le', labels)})"


def quantiles(name, by="model", legend="{{model}}"):
    return [(quantile(share, name, by), f"{legend} {text}") for share, text in
            ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))]


def panel(kind, title, description, unit, targets, width, height, **extra):
    queries = [{"datasource": SOURCE, "refId": chr(ord("A") + i), "expr": expr, "legendFormat": legend, "range": True,
                "editorMode": "code"} for i, (expr, legend) in enumerate(targets)]
    defaults = {"unit": unit, "color": {"mode": "palette-classic"}}
    return {"type": kind, "title": title, "description": description, "datasource": SOURCE, "targets": queries,
            "gridPos": {"w": width, "h": height}, "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {}, **extra}


def stat(title, description, unit, expr, limits=()):
    """One number of now; `limits` are (value, colour) from which on it is coloured."""
    made = panel("stat", title, description, unit, [(expr, "")], 4, 4)
    steps = [{"color": "text", "value": None}] + [{"color": c, "value": v} for v, c in limits]
    made["fieldConfig"]["defaults"].update(color={"mode": "thresholds"}, noValue="–", decimals=None,
                                           thresholds={"mode": "absolute", "steps": steps})
    made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area",
                       "colorMode": "value", "textMode": "value", "justifyMode": "auto", "orientation": "auto"}
    return made


def graph(title, description, unit, targets, width=8, stacked=False, bars=False, most=None):
    made = panel("timeseries", title, description, unit, targets, width, 8)
    defaults = made["fieldConfig"]["defaults"]
    defaults["min"] = 0
    if most is not None:
        defaults["max"] = most
    defaults["custom"] = {"drawStyle": "bars" if bars else "line", "lineWidth": 1, "fillOpacity": 60 if bars else 10,
                          "showPoints": "never", "spanNulls": False,
                          "stacking": {"mode": "normal" if stacked or bars else "none", "group": "A"}}
    made["options"] = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                       "tooltip": {"mode": "multi", "sort": "desc"}}
    return made


def heatmap(title, description, name):
    made = panel("heatmap", title, description, "s", [(count(name + "_bucket", "le"), "{{le}}")], 8, 8)
    made["targets"][0]["format"] = "heatmap"
    made["fieldConfig"]["defaults"] = {"custom": {"scaleDistribution": {"type": "linear"}}}
    made["options"] = {"calculate": False, "cellGap": 1, "yAxis": {"unit": "s", "axisPlacement": "left"},
                       "color": {"mode": "scheme", "scheme": "Blues", "steps": 64, "exponent": 0.5, "scale": "exponential",
                                 "fill": "dark-blue"},
                       "rowsFrame": {"layout": "auto"}, "filterValues": {"le": 1e-9},
                       "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": False},
                       "legend": {"show": True}}
    return made


ALL = rate("modelpool_requests_total")
ENDED_BADLY = M + ', outcome="failed"'
FAILED = f"({rate('modelpool_requests_total', labels=ENDED_BADLY)} or vector(0))"
REJECTED = f"({rate('modelpool_rejections_total')} or vector(0))"

OVERVIEW = [
    stat("Servers", "Servers that Prometheus has scraped just now.", "short", f"count(modelpool_build_info{{{S}}})"),
    stat("Requests", "Generations that ended, a second.", "reqps", ALL),
    stat("Tokens", "Tokens generated a second.", "short", rate("modelpool_generated_tokens_total")),
    stat("TTFT p99", "99 of 100 requests had their first text sooner, queueing included.", "s",
         quantile(0.99, "modelpool_ttft_seconds")),
    stat("Queue wait p99", "99 of 100 requests waited less for a slot. 1.5 s is the default of target_queue_wait_ms.", "s",
         quantile(0.99, "modelpool_queue_wait_seconds"), [(1.5, "red")]),
    stat("ITL p99", "99 of 100 gaps between tokens were shorter.", "s", quantile(0.99, "modelpool_itl_seconds")),
    stat("Waiting", "Requests that wait for a slot now.", "short", total("modelpool_queue_depth")),
    stat("Slots in use", "Share of the ready instances' slots that requests hold. None while nothing is loaded.",
         "percentunit", f"{total('modelpool_slots_busy')} / ({total('modelpool_slots')} > 0)", [(0.9, "orange")]),
    stat("Ready instances", "Instances that take requests.", "short", total("modelpool_instances", labels=M + ', state="ready"')),
    stat("Failed", "Share of the generations that had a slot and ended with an error.", "percentunit",
         f"{FAILED} / ({ALL} > 0)", [(0.01, "red")]),
    stat("Turned away", "Share of the requests that got no slot.", "percentunit",
         f"{REJECTED} / (({ALL} + {REJECTED}) > 0)", [(0.05, "orange")]),
    stat("Models in trouble", "Models in a crash loop, or whose files cannot be loaded. /health says why.", "short",
         total("modelpool_crash_loop"), [(1, "red")]),
]

REQUESTS = [
    graph("Requests by outcome", "Generations that ended. `cancelled`: the client went away; `failed`: it got an error.",
          "reqps", [(rate("modelpool_requests_total", "outcome"), "{{outcome}}")], stacked=True),
    graph("Turned away by reason", "Requests that got no slot. Reasons: docs/metrics.md.", "reqps",
          [(rate("modelpool_rejections_total", "reason"), "{{reason}}")], stacked=True),
    graph("Responses by status", "HTTP responses begun, of all paths and models.", "reqps",
          [(rate("modelpool_http_responses_total", "path, status", S), "{{path}} {{status}}")], stacked=True),
    heatmap("TTFT", "Requests by the time to their first text, queueing included.", "modelpool_ttft_seconds"),
    heatmap("Queue wait", "Requests by the time until they had a slot.", "modelpool_queue_wait_seconds"),
    heatmap("ITL", "Gaps between the tokens of an answer.", "modelpool_itl_seconds"),
    graph("TTFT", "Time from a request's arrival to its first text.", "s", quantiles("modelpool_ttft_seconds")),
    graph("Queue wait", "Time from admission to a slot.", "s", quantiles("modelpool_queue_wait_seconds")),
    graph("ITL", "Time between consecutive tokens.", "s", quantiles("modelpool_itl_seconds")),
    graph("Duration", "Time from a request's arrival to the end of its answer; completed ones only.", "s",
          quantiles("modelpool_request_duration_seconds")),
    graph("Waiting and running", "Requests that wait for a slot, and those that hold one.", "short",
          [(total("modelpool_queue_depth", "model"), "{{model}} waiting"),
           (total("modelpool_requests_in_flight", "model"), "{{model}} running")]),
    graph("Oldest wait", "How long the first waiting request has waited.", "s",
          [(f"max by (model) (modelpool_queue_oldest_wait_seconds{{{M}}})", "{{model}}")]),
    graph("Tokens a second", "Prompt tokens of accepted requests, those of them that a KV cache had, and tokens generated.",
          "short", [(rate("modelpool_generated_tokens_total", "model"), "{{model}} generated"),
                    (rate("modelpool_prompt_tokens_total", "model"), "{{model}} prompt"),
                    (rate("modelpool_cached_prompt_tokens_total", "model"), "{{model}} prompt, cached")]),
    graph("Lost instances", "Requests that lost their instance and went on, and those given up because they ended workers.",
          "short", [(count("modelpool_resumes_total", "model"), "{{model}} went on"),
                    (count("modelpool_quarantined_requests_total", "model"), "{{model}} given up")], bars=True),
    graph("Pause after a loss", "Time from the loss of an instance to the next token. Nothing while none is lost.", "s",
          [(quantile(0.95, "modelpool_resume_pause_seconds", "model"), "{{model}} p95")]),
    graph("Connections", "Connections that are open.", "short",
          [(f"modelpool_connections{{{S}}}", "{{instance}}")], 12),
    graph("Connections closed", "Connections that the server closed, by reason.", "short",
          [(count("modelpool_connections_closed_total", "reason", S), "{{reason}}")], 12, bars=True),
]

POOL = [
    graph("Instances by state", "Instances that start, take requests, finish what they have, or stop.", "short",
          [(total("modelpool_instances", "model, state"), "{{model}} {{state}}")], stacked=True),
    graph("Ready instances by variant", "Which variant serves. A worse one serves where the best does not fit.", "short",
          [(total("modelpool_instances", "variant", M + ', state="ready"'), "{{variant}}")], stacked=True),
    graph("Wanted and ready", "Instances that the controller wants, and those that are ready. A gap that lasts: loads are slow or fail.",
          "short", [(total("modelpool_target_instances", "model"), "{{model}} wanted"),
                    (total("modelpool_instances", "model", M + ', state="ready"'), "{{model}} ready")]),
    graph("Slots", "Slots of ready instances and those that are leased, on draining instances too.", "short",
          [(total("modelpool_slots", "model"), "{{model}} slots"),
           (total("modelpool_slots_busy", "model"), "{{model}} leased")]),
    graph("Slots that are needed", "Slots that requests hold or wait for: how much the load needs.", "short",
          [(f"{total('modelpool_slots_busy', 'model')} + {total('modelpool_queue_depth', 'model')}", "{{model}}")]),
    graph("Decisions by reason", "What the controller decided, counted when the reason changes: docs/scaling.md.", "short",
          [(count("modelpool_scaling_decisions_total", "reason"), "{{reason}}")], bars=True),
    graph("Starts by reason", "Instances that were started.", "short",
          [(count("modelpool_instance_starts_total", "reason"), "{{reason}}")], bars=True),
    graph("Stops by reason", "Instances that were drained.", "short",
          [(count("modelpool_instance_stops_total", "reason"), "{{reason}}")], bars=True),
    graph("Loads and unloads", "Weights that were loaded, by outcome, and unloaded.", "short",
          [(count("modelpool_loads_total", "outcome"), "{{outcome}}"),
           (count("modelpool_unloads_total", "model"), "{{model}} unloaded")], bars=True),
    graph("Start duration", "From the decision to a ready instance, the load of weights included.", "s",
          [(quantile(0.5, "modelpool_instance_start_duration_seconds", "model"), "{{model}} p50"),
           (quantile(0.99, "modelpool_instance_start_duration_seconds", "model"), "{{model}} p99")]),
    graph("Load duration", "Time to load weights.", "s",
          [(quantile(0.99, "modelpool_load_duration_seconds", "variant"), "{{variant}} p99")]),
    graph("Workers that died", "By reason: docs/operations.md says what to do.", "short",
          [(count("modelpool_worker_exits_total", "model, reason"), "{{model}} {{reason}}")], bars=True),
    graph("Instances that failed", "Instances that could not be made or broke, without their worker.", "short",
          [(count("modelpool_instance_failures_total", "model, variant"), "{{variant}}")], bars=True),
    graph("Crash loop", "1 while a model's workers fail again and again, or its file cannot be loaded.", "short",
          [(f"max by (instance, model) (modelpool_crash_loop{{{M}}})", "{{model}} on {{instance}}")], most=1),
    graph("Reloads", "Reloads of the policy or of the API keys. `refused`: the old ones are followed; the log says why.", "short",
          [(count("modelpool_policy_reloads_total", "instance, outcome", S), "{{instance}} {{outcome}}")], bars=True),
]

MACHINE = [
    graph("Memory in use", "By this and other programs, by the server and its workers alone, and all there is.", "bytes",
          [(f"modelpool_memory_used_bytes{{{S}}}", "{{instance}} {{device}} used"),
           (f"modelpool_memory_used_by_server_bytes{{{S}}}", "{{instance}} {{device}} used by the server"),
           (f"modelpool_memory_total_bytes{{{S}}}", "{{instance}} {{device}} total")], 12),
    graph("Memory free", "Share of each device that is free. 5% are the default headroom.", "percentunit",
          [(f"modelpool_memory_free_bytes{{{S}}} / modelpool_memory_total_bytes{{{S}}}", "{{instance}} {{device}}")], 12, most=1),
    graph("Memory predicted", "What a worker and each of its instances are predicted to take of the device that computes.",
          "bytes", [(f"max by (variant, part) (modelpool_predicted_bytes{{{M}}})", "{{variant}} {{part}}")], 12),
    graph("Measured less predicted", "What workers took of a GPU, as a share above the prediction. Nothing on the host.",
          "percentunit", [(f"max by (variant, part) (modelpool_measured_bytes{{{M}}} / modelpool_predicted_bytes{{{M}}} - 1)",
                           "{{variant}} {{part}}")], 12),
    graph("GPU utilisation", "Share of the time in which a GPU computed anything.", "percentunit",
          [(f"modelpool_gpu_utilization_ratio{{{S}}}", "{{instance}} {{device}}")], most=1),
    graph("GPU temperature", "Temperature of its chip.", "celsius",
          [(f"modelpool_gpu_temperature_celsius{{{S}}}", "{{instance}} {{device}}")]),
    graph("GPU power", "Power that it draws.", "watt", [(f"modelpool_gpu_power_watts{{{S}}}", "{{instance}} {{device}}")]),
]
del MACHINE[3]["fieldConfig"]["defaults"]["min"]

HITS = M + ', result=~"hit|shared"'
CACHEABLE = M + ', result!="uncacheable"'
CACHE = [
    graph("Kept answers", "Requests to models that keep answers. `hit` and `shared` used no slot.", "reqps",
          [(rate("modelpool_cache_requests_total", "result"), "{{result}}")], stacked=True),
    graph("Share of kept answers", "Of the requests whose answers may be kept, those that were not computed.", "percentunit",
          [(f"{rate('modelpool_cache_requests_total', 'model', HITS)} / "
            f"({rate('modelpool_cache_requests_total', 'model', CACHEABLE)} > 0)", "{{model}}")], most=1),
    graph("Memory of kept answers", "In the server, on the host.", "bytes", [(total("modelpool_cache_bytes", "model"), "{{model}}")]),
    graph("Redis errors", "Times that Redis could not be asked (`get`) or told (`put`). Requests are served without it.", "ops",
          [(rate("modelpool_cache_errors_total", "model, operation"), "{{model}} {{operation}}")]),
    graph("Prompt tokens from KV caches", "Share of the prompt tokens that were not computed, because earlier requests began alike.",
          "percentunit", [(f"{rate('modelpool_cached_prompt_tokens_total', 'model')} / "
                           f"({rate('modelpool_prompt_tokens_total', 'model')} > 0)", "{{model}}")], most=1),
    graph("Requests by key", "Requests that the key's limits let through.", "reqps",
          [(rate("modelpool_key_requests_total", "key", S), "{{key}}")], stacked=True),
    graph("Refused by key", "Requests refused because of their key, by reason.", "reqps",
          [(rate("modelpool_key_rejections_total", "key, reason", S), "{{key}} {{reason}}")], stacked=True),
    graph("Tokens by key", "Tokens of prompts and answers, a second.", "short",
          [(rate("modelpool_key_tokens_total", "key, kind", S), "{{key}} {{kind}}")], stacked=True),
    graph("Running by key", "Requests that wait or are answered.", "short",
          [(total("modelpool_key_requests_running", "key", S), "{{key}}")], stacked=True),
]


def query_variable(name, label, query):
    return {"type": "query", "name": name, "label": label, "datasource": SOURCE, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
            "allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "options": [],
            "regex": "", "hide": 0, "skipUrlSync": False}


def placed(rows):
    """Gives every panel its number and its place, from left to right and down."""
    panels, y = [], 0
    for title, members in rows:
        row = {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        panels.append(row)
        x, y, height = 0, y + 1, 0
        for member in members:
            place = member["gridPos"]
            if x + place["w"] > 24:
                x, y = 0, y + height
            member["gridPos"] = {"x": x, "y": y, **place}
            x, height = x + place["w"], place["h"]
            panels.append(member)
        y += height
    return [{"id": i, **panel} for i, panel in enumerate(panels, 1)]


def dashboard():
    rows = [("Overview", OVERVIEW), ("Requests & latency", REQUESTS), ("Pool", POOL), ("Memory & GPUs", MACHINE),
            ("Cache & keys", CACHE)]
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "current": {},
              "options": [], "regex": "", "refresh": 1, "hide": 0, "multi": False, "includeAll": False, "skipUrlSync": False}
    return {
        "title": "modelpool", "uid": "modelpool", "tags": ["modelpool"], "schemaVersion": 38, "version": 1, "editable": True,
        "description": "What modelpool serves and how, from its own metrics: docs/metrics.md.",
        "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "timezone": "", "weekStart": "",
        "timepicker": {}, "links": [], "liveNow": False, "fiscalYearStartMonth": 0, "annotations": {"list": []},
        "templating": {"list": [source,
                                query_variable("server", "Server", "label_values(modelpool_build_info, instance)"),
                                query_variable("model", "Model", "label_values(modelpool_target_instances, model)")]},
        "panels": placed(rows),
    }


def main():
    text = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        if TARGET.read_text() != text:
            sys.exit(f"error: {TARGET} differs from what dashboard.py writes; run it")
        return
    TARGET.write_text(text)


main()
