"""Compare a running modelpool server with the trained model's own greedy answers (reference.json).

    modelpool serve &
    python check.py

Every held-out prompt is sent twice: as it is to /v1/completions, and as messages to /v1/chat/completions. Equal
counts of prompt tokens show that tokenizer and chat template agree with the training; equal texts show that the
weights and the decoding do. Prompts go one after the other, so that nothing shares their batch.

Exit code: 0 all thresholds are met, 1 some are not, 2 the comparison could not be made.
"""

import argparse
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
# The longest reference answer has 208 tokens, so an answer that ends by itself fits.
MAX_TOKENS = 400
TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
# The endpoints, and where a choice has its text.
ENDPOINTS = {
    "completions": lambda choice: choice["text"],
    "chat": lambda choice: choice["message"]["content"],
}


class CannotCheck(Exception):
    """The server gave no answer that could be compared."""


class Server:
    def __init__(self, args):
        self.url, self.model, self.timeout_s = args.url.rstrip("/"), args.model, args.timeout_s
        self.headers = {"Content-Type": "application/json"}

    def answer(self, endpoint, prompt):
        """The text, the reason why it ended and the number of prompt tokens."""
        body = dict(model=self.model, temperature=0, max_tokens=MAX_TOKENS)
        if endpoint == "chat":
            reply = self.post("/v1/chat/completions", dict(body, messages=messages(prompt)))
        else:
            reply = self.post("/v1/completions", dict(body, prompt=prompt))
        try:
            choice = reply["choices"][0]
            return ENDPOINTS[endpoint](choice), choice["finish_reason"], reply["usage"]["prompt_tokens"]
        except (KeyError, IndexError, TypeError) as e:
            shown = json.dumps(reply)[:300]
            raise CannotCheck(f"the {endpoint} answer of {self.url} has not the expected shape: {shown}") from e

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), self.headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                return json.load(response)
        except urllib.error.HTTPError as e:
            shown = e.read(300).decode(errors="replace").strip()
            raise CannotCheck(f"{self.url}{path} answered {e.code}: {shown}") from e
        except TimeoutError as e:
            raise CannotCheck(f"no answer from {self.url} within {self.timeout_s:g} s; raise --timeout-s") from e
        except OSError as e:  # refused, no such host, connection lost
            reason = getattr(e, "reason", e)
            raise CannotCheck(
                f"cannot reach {self.url}: {reason}; start it with `modelpool serve` or give --url"
            ) from e
        except ValueError as e:
            raise CannotCheck(f"{self.url}{path} did not answer with JSON: {e}") from e


def messages(prompt):
    """The messages that the chat template turns into this prompt."""
    return [dict(role=role, content=content) for role, content in TURN.findall(prompt)]


def compare(server, items):
    """Counts of agreement as {(measure, endpoint): count}, and the answers."""
    agree = {(m, e): 0 for m in ("prompt tokens", "greedy text", "stopped") for e in ENDPOINTS}
    answers = []
    for item in items:
        texts = {}
        for endpoint in ENDPOINTS:
            text, finish_reason, prompt_tokens = server.answer(endpoint, item["prompt"])
            agree["prompt tokens", endpoint] += prompt_tokens == len(item["prompt_ids"])
            agree["greedy text", endpoint] += text == item["answer"]
            agree["stopped", endpoint] += finish_reason == "stop"
            texts[endpoint] = text
        answers.append(dict(kind=item["kind"], prompt=item["prompt"], expected=item["answer"], **texts))
    return agree, answers


def report(agree, total, thresholds):
    """Print one line a measure. Returns whether every threshold is met."""
    met = True
    for measure, least in thresholds.items():
        counts = {e: agree[measure, e] for e in ENDPOINTS}
        low = min(counts.values()) < least
        met = met and not low
        shown = ", ".join(f"{e} {n}/{total}" for e, n in counts.items())
        print(f"{measure:14} {shown}" + (f"  FAILED: fewer than {least}" if low else ""))
    return met


def show_differences(answers):
    for answer in answers:
        for endpoint in ENDPOINTS:
            if answer[endpoint] != answer["expected"]:
                print(f"\n[{answer['kind']}, {endpoint}]")
                print(f"  trained: {answer['expected']!r}\n  server:  {answer[endpoint]!r}")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--reference", default=os.path.join(HERE, "reference.json"))
    p.add_argument("--url", default="http://127.0.0.1:8080")
    p.add_argument("--model", default="tidepool-3m")
    p.add_argument("--timeout-s", type=float, default=120, help="for one answer, loading the model included")
    p.add_argument("--save", help="write the answers to this JSON file")
    # A near-tie between two tokens can fall the other way when a batch has another shape or a device rounds
    # differently. Token counts have no such excuse.
    p.add_argument("--min-equal", type=int, default=46, help="least number of equal greedy texts (default 46)")
    p.add_argument("--min-prompts", type=int, help="least number of equal prompt token counts (default: all)")
    p.add_argument("--min-stopped", type=int, default=46, help="least number of answers that end (default 46)")
    args = p.parse_args()
    if not args.url.startswith(("http://", "https://")):
        p.error(f"--url ({args.url}) must begin with http:// or https://")
    return args


def read_reference(path):
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except (OSError, ValueError) as e:
        raise CannotCheck(f"cannot read the reference {path}: {e}") from e


def main():
    args = arguments()
    started = time.monotonic()
    try:
        items = read_reference(args.reference)
        agree, answers = compare(Server(args), items)
    except CannotCheck as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    total = len(items)
    thresholds = {
        "prompt tokens": total if args.min_prompts is None else args.min_prompts,
        "greedy text": args.min_equal,
        "stopped": args.min_stopped,
    }
    met = report(agree, total, thresholds)
    print(f"{2 * total} answers in {time.monotonic() - started:.1f} s")
    show_differences(answers)
    if args.save:
        with open(args.save, "w", encoding="utf-8") as f:
            json.dump(answers, f, indent=1, ensure_ascii=False)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
