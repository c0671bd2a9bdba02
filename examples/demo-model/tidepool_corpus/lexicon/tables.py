"""Readers for the plain-text tables of this package.

One entry a line, fields separated by '|'. Sentence tables use a small template language: {slot} is filled
in, [a|b] picks one alternative.
"""

import re


def table(text):
    """Rows of fields; a '|' inside [...] belongs to the template language and does not split."""
    return [tuple(f.strip() for f in re.split(r"\|(?![^\[\]]*\])", line)) for line in text.strip().splitlines()]


def words(text):
    return [w.strip() for w in text.replace("\n", ",").split(",") if w.strip()]
