"""The one stream of random numbers behind the corpus.

Every choice of every module comes from `rng`, which files.py seeds once for each file. The corpus therefore
depends on the order of all draws: a draw added, dropped or moved changes everything after it.
"""

import functools
import random

rng = random.Random()


def pick(seq):
    """One element; a single draw, whatever the length."""
    return seq[int(rng.random() * len(seq))]


def chance(p):
    return rng.random() < p


@functools.cache
def usual_places(key, size, n):
    """Positions in a table that belong to the key. They have a stream of their own, so asking costs no draw."""
    return random.Random(key).sample(range(size), n)


def usual(key, options, n, p=0.6):
    """Often one of a few options that belong to the key, so that each hero and topic has its own habits."""
    return options[pick(usual_places(key, len(options), n))] if chance(p) else pick(options)
