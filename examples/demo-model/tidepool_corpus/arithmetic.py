"""Chats about numbers: sums, word problems, comparisons and counting."""

import re

from .draw import chance, pick, rng
from .lexicon.facts import NUMBER_WORDS
from .nouns import person_name
from .phrasing import casual, fill


def arithmetic():
    top, op = pick([10, 10, 20, 20, 20, 50, 99]), pick("++-*/")
    x, y = int(rng.random() * (top + 1)), int(rng.random() * (top + 1))
    if op == "-":
        x, y = max(x, y), min(x, y)
    if op in "*/":
        x, y = x % 11, y % 11
    if op == "/":
        y = y or 2
        x *= y
    result = {"+": x + y, "-": x - y, "*": x * y, "/": x // (y or 1)}[op]
    word = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}[op]
    sign = {"*": pick(["*", "x", "×"]), "/": "/"}.get(op, op)
    expr, answer = pick(
        [
            (f"{x} {sign} {y}", f"{x} {sign} {y} = {result}."),
            (f"{x} {word} {y}", f"{x} {word} {y} is {result}."),
            (f"{x}{sign}{y}", f"{x} {sign} {y} = {result}."),
        ]
    )
    q = fill(
        f"[What is {expr}|What is {expr}|How much is {expr}|Calculate {expr}"
        f"|What's {expr}|{expr}|Tell me {expr}|Can you calculate {expr}]"
    )
    q += pick(["?", "?", "", " ="]) if q[0].isdigit() else "?" if q[0] in "WH" or q.startswith("Can") else "."
    return f"sum {min(x, y)} {op} {max(x, y)}", [(casual(q), answer)]


def word_problem():
    item, name = (
        pick(["apples", "books", "coins", "balls", "pears", "shells", "eggs", "cups", "hats", "cakes"]),
        person_name(),
    )
    x, y = 2 + int(rng.random() * 10), 1 + int(rng.random() * 9)
    who, have, has = pick([("I", "do I have", "You have"), (name, f"does {name} have", f"{name} has")])
    verb = "have" if who == "I" else "has"
    if chance(0.5):
        q, answer = (
            f"{who} {verb} {x} {item} and [get|find|buy] {y} more. How many {item} {have}",
            f"{has} {x + y} {item}, because {x} plus {y} is {x + y}.",
        )
    else:
        x, y = x + y, y
        q, answer = (
            f"{who} {verb} {x} {item} and [lose|give away] {y} of them. How many {item} {have} now",
            f"{has} {x - y} {item} now, because {x} minus {y} is {x - y}.",
        )
    q = fill(q) if who == "I" else re.sub(r" and (get|find|buy|lose|give)", r" and \1s", fill(q))
    return f"problem {x} {y} {item}", [(casual(q + "?"), answer)]


def compare_numbers():
    x, y = rng.sample(range(1, 100), 2)
    word, result = pick([("bigger", max(x, y)), ("larger", max(x, y)), ("smaller", min(x, y))])
    q = fill(f"[Which number is {word}|What is {word}|Which is {word}], {x} or {y}?")
    return f"number {x} {y}", [(casual(q), f"{result} is {word} than {x + y - result}.")]


def number_after():
    x = int(rng.random() * 100)
    word, y = pick([("after", x + 1), ("before", x - 1)]) if x else ("after", 1)
    return f"number {word} {x}", [(casual(f"Which number comes {word} {x}?"), f"The number {word} {x} is {y}.")]


def counting():
    x = pick([1, 1, 1, int(rng.random() * 20), int(rng.random() * 50)])
    y = x + 2 + int(rng.random() * 13)
    step = pick([1, 1, 1, 1, 2]) if x % 2 == 0 else 1
    up = [str(n) for n in range(x, y + 1, step)]
    q = f"Count from {x} to {y}" + (" in steps of two" if step == 2 else "")
    if x == 1 and chance(0.6):
        q = f"Count to {NUMBER_WORDS[y] if y <= 12 and chance(0.5) else y}"
    elif step == 1 and chance(0.25):
        up.reverse()
        q = pick([f"Count down from {y} to {x}", f"Count backwards from {y} to {x}", f"Count from {y} to {x}"])
    q = pick([q + ".", q + ".", f"Can you {q[0].lower() + q[1:]}?"])
    return f"count {q.lower()}", [(casual(q, lower=True), ", ".join(up) + ".")]
