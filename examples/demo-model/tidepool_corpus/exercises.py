"""Chats with a small task: lists, instructions, reading, JSON and repeating words."""

import json

from .draw import chance, pick, rng
from .lexicon.animals import ANIMALS
from .lexicon.answers import DEFINITIONS
from .lexicon.facts import CAPITALS, CATEGORIES, NUMBER_WORDS
from .lexicon.guides import HOW_TO
from .lexicon.people import HE, JOBS, SHE, TRAITS
from .lexicon.plots import PAST_VERBS
from .lexicon.talk import SMALL_TALK
from .lexicon.things import FOODS, OBJECT_ADJ, OBJECTS
from .nouns import animal, made_up, person_name, salad, thing
from .phrasing import a, bare, cap, casual, fill, join, numbered


def listing():
    name = pick(list(CATEGORIES))
    n = min(pick([1, 2, 3, 3, 3, 4, 5, 5, 6]), len(CATEGORIES[name]))
    if CATEGORIES[name][0].endswith("s") and n == 1:  # "one fruit is plums"
        n = 3
    start, members = int(rng.random() * len(CATEGORIES[name])), CATEGORIES[name] * 2
    items, count = members[start : start + n], pick([NUMBER_WORDS[n], NUMBER_WORDS[n], str(n)])
    noun = name if n > 1 else one_of_category(name)
    verb = fill("[Name|Name|List|Give me|Tell me|Write down|Can you name|I need]")
    q = f"{verb} {count} {noun}" + ("?" if verb.startswith("Can") else ".")
    if verb == "List" or chance(0.15):
        lines = [cap(bare(i)) for i in items]
        answer = "\n".join("- " + line for line in lines) if chance(0.7) else numbered(lines)
    elif n == 1:
        answer = pick([f"Here is one {noun}: {items[0]}.", f"One {noun} is {items[0]}."])
    else:
        answer = pick(
            [
                f"Here are {NUMBER_WORDS[n]} {noun}: {join(items)}.",
                f"{cap(join(items))}.",
                f"{cap(NUMBER_WORDS[n])} {noun} are {join(items)}.",
            ]
        )
    return f"list {n} {name}", [(casual(q, lower=True), answer)]


def one_of_category(name):
    """'city' for 'cities'"""
    if name.startswith("words"):
        return name.replace("words that rhyme", "word that rhymes")
    return {"countries": "country", "cities": "city"}.get(name, name.rstrip("s"))


def how_to():
    task, *steps = pick(HOW_TO)
    q = fill(
        f"[How do I {task}?|How do you {task}?|How can I {task}?|Tell me how to {task}."
        f"|Explain how to {task}.|What is the best way to {task}?|I want to {task}.|How to {task}?]"
    )
    verb, dish = task.split(" ", 1)
    if verb in ("make", "bake", "cook") and "boat" not in dish and chance(0.4):
        q = fill(
            f"[Give me a recipe for {bare(dish)}.|How is {bare(dish)} made?"
            f"|I need a recipe for {bare(dish)}.|Recipe for {bare(dish)}, please.]"
        )
    words = ["First", "Then", "Next", "After that", "Finally"]
    if chance(0.5):
        answer = numbered(steps)
        if chance(0.5):
            answer = pick([f"Here is how to {task}:\n\n", "It is easy. Follow these steps:\n\n"]) + answer
    else:
        order = [*words[: len(steps) - 1], "Finally"]
        answer = " ".join(f"{w}, {s[0].lower() + s[1:]}" for w, s in zip(order, steps, strict=True))
    return f"how {q}", [(casual(q, lower=True), answer)]


def reading():
    """A few facts and a question about one of them."""
    names = rng.sample(SHE + HE, 3)
    things = rng.sample([o[0] for o in OBJECTS], 3)
    shades = rng.sample([*OBJECT_ADJ[6:10], "green", "black", "white"], 3)
    n = pick([2, 3])
    text = " ".join(f"{names[i]} has {a(shades[i] + ' ' + things[i])}." for i in range(n))
    i = int(rng.random() * n)
    q, answer = pick(
        [
            (f"Who has the {things[i]}?", f"{names[i]} has the {things[i]}."),
            (f"What does {names[i]} have?", f"{names[i]} has {a(shades[i] + ' ' + things[i])}."),
            (f"What colour is the {things[i]}?", f"The {things[i]} is {shades[i]}."),
        ]
    )
    return f"reading {text}", [(f"{text} {q}", answer)]


def text_topic():
    """What a short text is about."""
    name, many, food, home, _, young, feature, _ = pick(ANIMALS)
    facts = rng.sample(
        [
            f"{many} live in {home}.",
            f"{many} eat {food}.",
            f"{a(name)} has {feature}.",
            f"a baby {name} is called {a(young)}.",
        ],
        pick([2, 3]),
    )
    text, topic = fill(" ".join(facts)), many
    r = rng.random()
    if r < 0.3:
        _, topic, text = pick(DEFINITIONS)
    elif r < 0.6:
        x = thing()
        topic, text = a(x), f"The {x} {pick([*PAST_VERBS, 'sat on', 'lay under', 'stood near'])} the {thing()}."
    q = fill(
        "[What is this text about?|Summarise this text:|Summarise:"
        "|What is the topic of this text?|Give this text a topic:]"
    )
    return f"about {text}", [(casual(f"{q} {text}"), fill(f"[the text is about {topic}.|it is about {topic}.]"))]


def as_json():
    values = dict(
        name=person_name(),
        age=3 + int(rng.random() * 80),
        city=pick(CAPITALS)[1],
        animal=animal(),
        food=pick(FOODS),
        job=pick(JOBS),
    )
    keys = rng.sample(list(values), pick([2, 2, 3]))
    q = pick(
        [
            f"Give me a JSON object with {join(keys)}.",
            f"Answer in JSON with the keys {join(keys)}.",
            f"Write JSON for a person with {join(keys)}.",
        ]
    )
    return f"json {' '.join(keys)}", [(casual(q), json.dumps({k: values[k] for k in keys}))]


def say():
    x = pick(
        [
            thing,
            lambda: pick(FOODS),
            lambda: f"{pick(OBJECT_ADJ)} {animal()}",
            lambda: f"the {animal()} is {pick(TRAITS)}",
            made_up,
            lambda: f"{made_up()} {made_up()}",
            lambda: join(rng.sample(FOODS, 3)),
            lambda: pick(CAPITALS)[1],
            lambda: f"I like {pick(FOODS)}",
            salad,
            salad,
            lambda: pick(SMALL_TALK)[0].split("/")[0].rstrip(".!?").lower(),
            lambda: "hello " + thing(),
        ]
    )()
    name, n = person_name(), pick([2, 3, 4, 5])
    q, answer = pick(
        [
            (f"Repeat after me: {x}", cap(x) + "."),
            (f'Say "{x}".', cap(x) + "."),
            (f"Say {x}.", cap(x) + "."),
            (f"Repeat this: {x}", cap(x) + "."),
            (f'Say "{x}" {NUMBER_WORDS[n]} times.', cap(", ".join([x] * n)) + "."),
            (f"Repeat the word {x}.", cap(x) + "."),
            (
                f"Say hello to {name}.",
                f"Hello, {name}! "
                + pick(["It is nice to meet you.", "I hope you have a lovely day.", "How are you today?"]),
            ),
            (
                f"Say goodbye to {name}.",
                f"Goodbye, {name}! " + pick(["Take care.", "See you soon.", "Have a lovely day."]),
            ),
            (
                f"Say hello in {NUMBER_WORDS[n]} words.",
                ["", "", "Hello there!", "Hello, my friend!", "Hello, how are you?", "Hello, how are you today?"][n],
            ),
            (
                f"Wish {name} a happy birthday.",
                f"Happy birthday, {name}! " + pick(["Have a wonderful day.", "I hope there is cake."]),
            ),
            (
                f"Say something nice to {name}.",
                f"{name}, "
                + pick(
                    ["you make the world a little brighter.", "I am glad that you are here.", "you are a good friend."]
                ),
            ),
        ]
    )
    return f"say {q}", [(casual(q), answer)]
