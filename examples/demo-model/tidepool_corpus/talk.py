"""Chats for company: greetings, the model itself, likings, jokes, riddles, advice and plans."""

import re

from .arithmetic import arithmetic
from .draw import chance, pick
from .facts import animal_fact, colour
from .lexicon.animals import ANIMALS
from .lexicon.facts import CAPITALS, CATEGORIES
from .lexicon.fun import JOKES, RIDDLES
from .lexicon.guides import ADVICE
from .lexicon.people import HOBBIES, PEOPLE
from .lexicon.talk import IDENTITY, SMALL_TALK
from .lexicon.things import FOODS, OBJECTS
from .lexicon.unknown import UNKNOWN
from .nouns import animal, made_up, person_name, thing
from .phrasing import a, cap, casual, fill, plural


def small_talk():
    asks, answers = pick(SMALL_TALK)
    q = pick(asks.split("/"))
    return "talk", [(q.lower() if chance(0.2) else q, fill(pick(answers.split("/"))))]


def identity(me):
    asks, answers = pick(IDENTITY)
    return "identity", [(casual(pick(asks.split("/"))), fill(pick(answers.split("/")), me=me))]


def introduction():
    """The user gives a name or a liking and asks for it later."""
    name, food = person_name(), pick(FOODS)
    keys = [f"name {name}"]
    hello = fill(f"[My name is {name}.|I am {name}.|Hello, I am {name}.|Hi, my name is {name}.|Call me {name}.]")
    reply = fill(
        f"[Nice to meet you, {name}!|Hello, {name}!|It is a pleasure to meet you, {name}.] "
        "[How can I help you?|What can I do for you?|How are you today?]"
    )
    turns = [(hello, reply)]
    if chance(0.4):
        reply = fill(f"[I have heard that {food} can be very good!|That sounds lovely. Many people like {food}.]")
        turns.append((f"I like {food}.", reply))
    if chance(0.4):
        key, fact = pick([animal_fact, arithmetic, colour, small_talk])()
        keys.append(key)
        turns.append(fact[0])
    if chance(0.6):
        q = pick(["What is my name?", "Do you remember my name?", "What's my name?", "Who am I?"])
        turns.append((q, fill(f"[Your name is {name}.|You are {name}.]")))
    if len(turns) > 1 and "I like" in turns[1][0] and chance(0.6):
        q = pick(["What do I like?", "What food do I like?", "Do you remember what I like?"])
        turns.append((q, f"You like {food}."))
    return keys, turns


LIKINGS = {
    "colour": "blue",
    "animal": "the otter",
    "food": "apple pie",
    "season": "autumn",
    "place": "the tide pools by the sea",
    "word": "lantern",
    "number": "seven",
    "day": "Sunday",
    "flower": "the poppy",
    "country": "Iceland",
}


def favourite():
    kinds = "colour animal food book song season place word number day".split()
    kind = pick([*kinds, made_up(), "flower", "country", "game"])
    q = fill(f"[What is your favourite {kind}|Do you have a favourite {kind}|Which {kind} do you like best]?")
    if kind in LIKINGS:
        answer = fill(
            f"I am only a program, [but I like {LIKINGS[kind]}."
            f"|so I cannot really choose, but {LIKINGS[kind]} sounds nice.] "
            f"[What is your favourite {kind}?|And you?|]"
        )
    else:
        answer = fill(
            f"I am only a program, so I do not have a favourite {kind}. "
            f"[What is your favourite {kind}?|What about you?]"
        )
    return f"favourite {q}", [(casual(q), answer)]


def opinion():
    x = pick([pick(FOODS), pick(HOBBIES), made_up(), pick(ANIMALS)[1], pick(UNKNOWN)])
    q = fill(f"[Do you like {x}|What do you think about {x}|Do you know {x}|Have you tried {x}]?")
    answer = fill(
        f"I am only a small program, so I cannot [try|enjoy] {x} myself. [Do you like {x}?"
        f"|What do you think about {x}?|I would love to hear what you think.]"
    )
    return f"opinion {q}", [(casual(q), answer)]


def joke():
    topic, setup, answer = pick(JOKES)
    if chance(0.3):
        topic = pick([lambda: pick(PEOPLE), made_up, thing, thing])()
        about, it, was = a(topic), "It", "was"
        if chance(0.35):
            about = topic = plural(topic)
            it, was = "They", "were"
        setup, answer = pick(
            [
                (f"Why did the {topic} cross the field?", f"{it} wanted to see the other side."),
                (f"Why did the {topic} sit in the sun?", f"{it} did not want to be left in the dark."),
                (f"Why {was} the {topic} never late?", f"{it} {was} always there before the clock."),
                (f"What did the {topic} say to the moon?", "You look a little pale today."),
            ]
        )
        q = fill(f"[Tell me a joke about|A joke about|Do you know a joke about|Make a joke about] {about}")
    else:
        q = fill(
            "[Tell me a joke|Do you know a joke|Make me laugh|Can you tell me a joke"
            "|Tell me something funny|A joke, please|Joke|Another joke|Say something funny"
            + f"|Tell me a joke about {a(topic)}" * 3
            + "]"
        )
    q += "?" if q.startswith(("Do", "Can")) else "."
    if chance(0.15):
        return f"joke {topic}", [
            (casual(q), setup),
            (pick(["I do not know. Why?", "I don't know.", "Tell me!", "Why?", "No idea."]), answer),
        ]
    return f"joke {topic}", [(casual(q), f"{setup} {answer}")]


def riddle():
    text, answer = pick(RIDDLES)
    q = pick(
        [
            "Tell me a riddle.",
            "Give me a riddle.",
            "Do you know a riddle?",
            "A riddle, please.",
            "Ask me a riddle.",
            "Another riddle.",
            "Can you tell me a riddle?",
        ]
    )
    if chance(0.3):
        return "riddle", [(text, f"You are {answer}!")]
    give_up = pick(
        ["I do not know.", "I give up.", "What is the answer?", "Tell me the answer.", "No idea.", "What is it?"]
    )
    right = fill(f"[Is it {answer}?|{cap(answer)}!|{cap(answer)}?|It is {answer}.|I think it is {answer}.]")
    praise = fill(f"[Yes, that is right! It is {answer}.|Correct! The answer is {answer}.]")
    wrong = fill(f"[Is it {a(animal())}?|{cap(a(pick(OBJECTS)[0]))}?]")
    end = pick(
        [
            (give_up, f"The answer is {answer}."),
            (right, praise),
            (wrong, f"No, that is not it. The answer is {answer}."),
        ]
    )
    return "riddle", [(casual(q), text), end][: pick([1, 2, 2])]


def advice():
    says, *answers = pick(ADVICE)
    feeling = re.match(r"I (?:am|feel) (\w+)\.$", says)
    if feeling and chance(0.6):
        says = fill(
            f"I [am|feel|am feeling|felt] [so|very|really|a bit|] {feeling[1]} "
            "[today|right now|tonight|this morning|at the moment||]."
        ).replace(" .", ".")
    q = (
        says
        if chance(0.6)
        else fill(pick([f"{says} What should I do?", f"{says} Can you help me?", f"[Oh no. |Hey. |]{says}"]))
    )
    q = q.replace("I am", "I'm") if chance(0.3) else q
    return f"advice {q}", [(casual(q), pick(answers))]


def day_plan():
    place = pick([pick(CAPITALS)[1], pick(CATEGORIES["cities"]), cap(made_up()), pick(CAPITALS)[0]])
    q = fill(
        f"[Plan a day in {place}.|What can I do in {place}?|I am going to {place}. "
        f"What should I do there?|Make a plan for a day in {place}.]"
    )
    parts = [
        "In the morning, [take a slow walk and look at the old streets|have breakfast in a small cafe|visit a market].",
        "In the afternoon, [visit a museum or a park|sit by the water and rest|look for a good view over the roofs].",
        f"In the evening, [eat something that people in {place} like|listen to music|watch the lights come on].",
    ]
    return f"plan {place}", [
        (casual(q), fill(" ".join(parts) + " [Enjoy your day in " + place + "!|Have a good trip!|]"))
    ]
