"""Chats that ask for a fact from the tables: animals, colours, capitals, definitions, opposites, days."""

import re

from .draw import chance, pick, rng
from .lexicon.animals import ANIMALS, FLIERS
from .lexicon.answers import COMMON, DEFINITIONS, YES_NO
from .lexicon.facts import CAPITALS, COLOURS, DAYS, MONTHS, NUMBER_WORDS, OPPOSITES
from .lexicon.things import OBJECTS
from .lexicon.unknown import LIVE
from .phrasing import a, casual, fill, join


def animal_fact():
    i = int(rng.random() * len(ANIMALS))
    name, many, food, home, sound, young, _, legs = ANIMALS[i]
    one, r = a(name), rng.random()
    if r < 0.2:
        q = f"[What do {many} eat|What does {one} eat|What do {many} like to eat|What should I feed {one}]?"
        answer = f"[{many} eat {food}.|{many} mostly eat {food}.]"
    elif r < 0.35:
        q = f"[Where do {many} live|Where does {one} live|What is the home of {one}]?"
        answer = f"{many} live in {home}.".replace("live in rocky beaches", "live on rocky beaches")
        answer = answer.replace("in towns and cliffs", "in towns and on cliffs")
        answer = ON_THE_HILLS.sub(r"on \1", answer)
    elif r < 0.47:
        q = f"[What sound does {one} make|What noise does {one} make|What does {one} say|What sounds do {many} make]?"
        answer = f"{one} {sound}."
    elif r < 0.56:
        q = f"[What is a baby {name} called|What do you call a baby {name}|What is the young of {one} called]?"
        answer = f"a baby {name} is called {a(young)}."
    elif r < 0.66:
        q = f"[How many legs does {one} have|How many legs do {many} have]?"
        answer = f"{one} has {NUMBER_WORDS[int(legs)] if int(legs) else 'no'} legs."
    elif r < 0.74:
        q = f"[Can {one} fly|Can {many} fly|Do {many} fly]?"
        says, can = ("yes", "can") if name in FLIERS else ("no", "cannot")
        answer = f"[{says}, {many} {can} fly.|{says}, {one} {can} fly.]"
    elif r < 0.84:
        q, answer = animal_comparison(i)
    else:
        q, answer = animal_portrait(ANIMALS[i])
    q = fill(q)
    return f"animal {q.lower()}", [(casual(q, lower=True), fill(answer))]


# The table gives a home without its preposition; these want "on". (The portrait knows beaches, but not "the".)
ON_THE_HILLS = re.compile(r"in ((?:high |cold |rocky |green |open |dry |the )*(?:cliffs|coasts|hills|plains|farms)\b)")
ON_A_BEACH = re.compile(r"in ((?:high |cold |rocky |green |open |dry )*(?:beaches|cliffs|coasts|hills|plains|farms)\b)")


def animal_comparison(i):
    """Which of two animals is bigger: the later in the table, which is sorted by size."""
    j = int(rng.random() * len(ANIMALS))
    if abs(i - j) < 6:  # neighbours are about equal
        j = (i + 25) % len(ANIMALS)
    one, other = a(ANIMALS[i][0]), a(ANIMALS[j][0])
    word, winner = pick([("bigger", max(i, j)), ("larger", max(i, j)), ("smaller", min(i, j))])
    loser = i + j - winner
    q = f"[Which is {word}, {one} or {other}|What is {word}, {one} or {other}]?"
    return q, f"{a(ANIMALS[winner][0])} is {word} than {a(ANIMALS[loser][0])}."


def animal_portrait(row):
    name, many, food, home, _, young, feature, _ = row
    one = a(name)
    q = fill(
        f"[What is {one}|Tell me about {many}|Describe {one}|Tell me something about {many}"
        f"|What do you know about {many}|What does {one} look like]"
    )
    q += "?" if q.startswith("What") else "."
    facts = [
        ON_A_BEACH.sub(r"on \1", f"it lives in {home}."),
        f"it eats {food}.",
        f"a baby {name} is called {a(young)}.",
    ]
    return q, " ".join([f"[{one} is an animal with {feature}.|{one} has {feature}.]", *facts[: pick([2, 2, 3])]])


def colour():
    x, c = pick(COLOURS)
    q = fill(
        f"[What is the colour of {x}|What colour is {x}|Which colour is {x}"
        f"|What colour does {x} have|Tell me the colour of {x}]?"
    )
    return f"colour {q}", [
        (casual(q, lower=True), fill(f"[{x} is {c}.|{x} is usually {c}.|the colour of {x} is {c}.]"))
    ]


def capital():
    country, city = pick(CAPITALS)
    if chance(0.25):
        q, answer = (
            f"[Which country is {city} the capital of|What country is {city} in|Where is {city}]?",
            f"[{city} is the capital of {country}.|{city} is in {country}.]",
        )
    else:
        q = (
            f"[What is the capital of {country}|What's the capital of {country}"
            f"|Tell me the capital of {country}|Which city is the capital of {country}|Capital of {country}]?"
        )
        answer = f"[the capital of {country} is {city}.|{city} is the capital of {country}.]"
    q = fill(q)
    return f"capital {q}", [(casual(q, lower=True), fill(answer))]


def definition():
    word, the_word, answer = pick(DEFINITIONS)
    q = fill(
        f"[What is {the_word}|What is {the_word}|Explain what {the_word} is"
        f"|Tell me about {the_word}|What does the word {word} mean"
        f"|Define {word}|Explain how {the_word} works|How does {the_word} work"
        f"|Can you explain {the_word}|Explain {the_word}|Please explain {the_word} in simple words]"
    )
    q += "?" if q.startswith(("What", "Can", "How")) else "."
    return f"definition {q}", [(casual(q, lower=True), answer)]


def thing_use():
    name, use = pick(OBJECTS)
    q = fill(
        f"[What is {a(name)} for|What is {a(name)} used for"
        f"|What can you do with {a(name)}|What is {a(name)}|Why do people need {a(name)}]?"
    )
    answer = fill(
        f"[you can use {a(name)} to {use}.|people use {a(name)} to {use}.|{a(name)} is a thing that you use to {use}.]"
    )
    return f"use {q}", [(casual(q, lower=True), answer)]


def common():
    q, answer = pick(pick([COMMON, YES_NO]))
    return "common", [(casual(q, lower=True), answer)]


def live():
    q, answer = pick(LIVE)
    return "live", [(casual(q, lower=True), answer)]


def opposite():
    x, y = pick(OPPOSITES)
    if (y, x) not in OPPOSITES and chance(0.4) and y not in ("full", "light", "afraid", "new", "quiet"):
        x, y = y, x
    q = fill(
        f'[What is the opposite of {x}|What is the opposite of "{x}"'
        f"|Give me the opposite of {x}|Opposite of {x}|What's the opposite of {x}]?"
    )
    return f"opposite {q}", [
        (casual(q, lower=True), fill(f'[the opposite of {x} is {y}.|the opposite of "{x}" is "{y}".]'))
    ]


def calendar():
    names, kind, where = pick([(DAYS, "day", "of the week"), (MONTHS, "month", "of the year")])
    i = int(rng.random() * len(names))
    word, j = pick([("after", i + 1), ("before", i - 1)])
    q = fill(
        f"[Which {kind} comes {word} {names[i]}|What {kind} comes {word} {names[i]}"
        f"|What {kind} is {word} {names[i]}|What comes {word} {names[i]}]?"
    )
    answer = f"The {kind} {word} {names[i]} is {names[j % len(names)]}."
    if chance(0.15):
        q, answer = (
            fill(f"[Name the {kind}s {where}|List the {kind}s {where}|What are the {kind}s {where}]."),
            f"The {kind}s {where} are {join(names)}.",
        )
    return f"calendar {q}", [(casual(q, lower=True), answer)]
