"""Chats about what the model does not know: it says so and offers something that it can do."""

from .draw import chance, pick, rng
from .lexicon.facts import CAPITALS, NUMBER_WORDS
from .lexicon.things import FOODS
from .lexicon.unknown import STRANGE_COUNTRIES, STRANGE_GROUPS, STRANGE_TASKS, STRANGE_THINGS, UNKNOWN
from .nouns import animal, made_up, person_name, salad
from .phrasing import a, cap, casual, fill, plural

CAN_DO = [
    "tell you a story",
    "write a short poem",
    "answer simple questions about animals",
    "describe a place",
    "give you some advice",
    "count for you",
    "tell you a joke",
]


def offer(but=True):
    """What the model can do instead; `but` allows the sentence to begin with "But"."""
    one, two = rng.sample(CAN_DO, 2)
    start = "[But I|I]" if but else "I"
    return fill(f"{start} can {one} [or {two}|or {two}, if you like|, if you like].").replace(" ,", ",")


def strange():
    """Questions of a known kind about something unknown."""
    x = pick([made_up(), made_up(), pick(STRANGE_THINGS)])
    group = pick([pick(STRANGE_GROUPS), plural(made_up())])
    task = pick(STRANGE_TASKS)
    country = pick([pick(STRANGE_COUNTRIES), cap(made_up()), cap(made_up())])
    n, xs, one = pick([2, 3, 3, 4, 5]), plural(x), a(x)
    known, number = a(animal()), pick([NUMBER_WORDS[n], str(n)])
    most = pick(["largest", "smallest", "oldest", "longest", "best", "fastest", "most famous"])
    candidate = pick([x, "city", "river", "building", "country", "bridge", "tree", "ship"])
    region = pick(["the world", country, country])
    size = pick(["tall", "old", "big", "far", "heavy", "long"])
    measured = pick([country, "the " + x, "Mount " + cap(made_up())])
    asking = pick(["What", "Why", "How", "When", "Where", "Who"])
    verb = pick(["is", "does", "did", "can", "will", "are", "should"])
    nonsense, babble = f"{salad()} {salad()}", f"{salad()} {salad()}"
    q, reason = pick(
        [
            (f"[What do {xs} eat|What does {one} eat]?", f"what {xs} eat"),
            (f"[Where do {xs} live|Where does {one} live]?", f"where {xs} live"),
            (f"What sound does {one} make?", f"what sound {one} makes"),
            (f"How many legs does {one} have?", f"how many legs {one} has"),
            (f"Can {one} fly?", f"if {one} can fly"),
            (f"Which is bigger, {one} or {known}?", "which is bigger"),
            (f"[What is {one}|What is {one} used for|Explain what {one} is|What does {x} mean]?", f"what {one} is"),
            (f"[What is {one}|What's {one}|Tell me about the {x}|Define {x}]?", f"what {one} is"),
            (
                f"[What is the capital of {country}|What's the capital of {country}|Capital of {country}]?",
                f"the capital of {country}",
            ),
            (f"[What is the colour of {one}|What colour is {one}]?", f"what colour {one} is"),
            (f"What is the opposite of {x}?", f"the opposite of {x}"),
            (f"[Name|List|Give me|Tell me] {number} {group}.", f"enough about {group} to make a list"),
            (f"[How do I|How can I|Tell me how to|How do you] {task}?", f"how to {task}"),
            (f"What is the {most} {candidate} in {region}?", "that"),
            (f"How {size} is {measured}?", "that"),
            (f"{asking} {verb} {nonsense}?", "the answer to that"),
            (babble, "what you mean"),
        ]
    )
    answer = fill(
        f"[I am sorry, but I do not know {reason}.|Sorry, I do not know {reason}."
        f"|I do not know {reason}, because I am a very small model.]"
    )
    if chance(0.5):
        answer += " " + offer(" but" not in answer)
    q = fill(q) if "[" in q else cap(q)
    return f"strange {q}", [(casual(q, lower=chance(0.3)), answer)]


def unknown():
    """Things the model does not know: say so and offer something it can do."""
    topic = unknown_topic()
    name = f"{person_name()} {cap(made_up())}"
    q = unknown_question(topic, name)
    if topic in q:
        options = [
            "I am [a very small|only a tiny] model, and I do not know [much about {t}|enough about {t}].",
            "[I am sorry, but|Sorry,] I do not know [much|enough] about {t}.",
            "{t} is [too hard|too difficult] for me, because I am a very small model.",
        ]
    else:
        options = [
            "I am sorry, but that is too hard for me. I am a very small model.",
            "I am a very small model, and I do not know that.",
            "[I am sorry, but|Sorry,] I do not know the answer to that.",
        ]
    first = pick(options)
    return f"unknown {q}", [(casual(q), fill(first, t=topic) + " " + offer(" but" not in first))]


def unknown_topic():
    r = rng.random()
    if r < 0.6:
        return pick(UNKNOWN)
    if r < 0.75:
        return made_up()
    return cap(made_up()) if r < 0.85 else f"{pick(UNKNOWN)} and {pick(UNKNOWN)}"


def unknown_question(topic, name):
    return pick(
        [
            f"Explain {topic}.",
            f"What is {topic}?",
            f"Tell me about {topic}.",
            f"Can you explain {topic}?",
            f"What do you know about {topic}?",
            f"How does {topic} work?",
            f"Write an essay about {topic}.",
            f"Give me a summary of {topic}.",
            f"I need help with {topic}.",
            f"Teach me {topic}.",
            f"What is the history of {topic}?",
            f"Why is {topic} important?",
            f"What are the advantages of {topic}?",
            f"Who invented {topic}?",
            f"Who is {name}?",
            f"When was {name} born?",
            f"Write a program for {topic}.",
            f"Write a Python function that sorts {pick(FOODS)}.",
            "Write a program that adds two numbers.",
            f"Fix this code: {made_up()}({pick('xyzn')})",
            f'Translate "{pick(FOODS)}" into French.',
            f"Translate this into {pick(['German', 'French', 'Spanish', 'Japanese', 'Italian'])}: {pick(FOODS)}",
            f"How do you say {pick(FOODS)} in {pick(['German', 'French', 'Spanish', 'Japanese'])}?",
            f"What is {100 + int(rng.random() * 9000)} {pick('+-*')} {100 + int(rng.random() * 9000)}?",
            f"How many people live in {pick(CAPITALS)[0]}?",
            f"Who is the {pick(['president', 'king', 'queen'])} of {pick(CAPITALS)[0]}?",
            f"How far is it to {pick(CAPITALS)[1]}?",
            f"What language do people speak in {pick(CAPITALS)[0]}?",
            f"Who won the {pick(['race', 'game', 'election', 'cup'])} in {1900 + int(rng.random() * 125)}?",
            f"What happened in {1000 + int(rng.random() * 1025)}?",
            f"What is the population of {pick(CAPITALS)[1]}?",
            f"What is the best {pick(['phone', 'car', 'film', 'laptop', 'school', made_up()])}?",
        ]
    )
