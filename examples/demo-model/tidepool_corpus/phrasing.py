"""Text tools: the template language, articles, lists, and the ways in which people type a question."""

import re

from .draw import chance, pick

ALTERNATIVE = re.compile(r"\[([^\[\]]*)\]")

SENTENCE_START = re.compile(r'(^|[.!?] |\." |: "|\n)([a-z])')


def fill(text, **slots):
    """Fill {slots}, choose between [alternatives], and capitalise sentences."""
    text = text.format_map(slots) if slots else text
    while "[" in text:
        text = ALTERNATIVE.sub(lambda m: pick(m[1].split("|")), text)
    text = SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text)
    return re.sub(r"  +", " ", text).strip()


def cap(text):
    """First letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def a(noun):
    """The noun with its indefinite article, chosen by sound as far as the tables need it."""
    vowel = noun[0].lower() in "aeiou" and not noun.startswith(("uni", "use"))
    return ("an " if vowel or noun.startswith("honest") else "a ") + noun


def bare(noun):
    """The noun without its article."""
    return re.sub(r"^(a|an|the) ", "", noun)


def plural(noun):
    return noun + ("es" if noun.endswith(("s", "x", "z", "h")) else "s")


def join(items):
    """'a, b and c'"""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def numbered(items):
    return "\n".join(f"{i}. {item}" for i, item in enumerate(items, 1))


def casual(q, lower=False):
    """Vary how people type: greetings, 'please', missing punctuation, lower case, American spelling."""
    if chance(0.05):
        hello = pick(["Hello! ", "Hi! ", "Hi, ", "Hey, ", "Good morning! ", "OK. ", "Great! "])
        q = hello + (q[0].lower() + q[1:] if "," in hello and not q.startswith("I ") else q)
    elif chance(0.05) and not q.startswith("Please"):
        q = "Please " + q[0].lower() + q[1:]
    if chance(0.2):
        q = q.rstrip(".!?")
    elif chance(0.04):
        q = q.rstrip(".!?") + pick([", please.", " please", " :)", "!", "??", " ..."])
    if chance(0.5):
        q = q.replace("ummarise", "ummarize")
    if chance(0.12):
        q = q.lower() if lower else q[0].lower() + q[1:]
    return q.replace("colour", "color") if chance(0.3) else q
