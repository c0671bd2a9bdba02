"""Puts tasks together: a chat with roles, or plain text without them."""

import re

from .arithmetic import arithmetic, compare_numbers, counting, number_after, word_problem
from .descriptions import describe, poem
from .draw import chance, pick, rng
from .exercises import as_json, how_to, listing, reading, say, text_topic
from .facts import animal_fact, calendar, capital, colour, common, definition, live, opposite, thing_use
from .nouns import person_name
from .phrasing import fill
from .stories import new_story, story_text, title
from .story_tasks import continue_story, more_stories, story, summarise
from .talk import advice, day_plan, favourite, identity, introduction, joke, opinion, riddle, small_talk
from .unknown import strange, unknown
from .writing import dialogue, letter, sentence_with, title_task

NAME = "Tidepool"

# task, weight
TASKS = [
    (story, 22),
    (more_stories, 2),
    (continue_story, 2),
    (summarise, 2),
    (poem, 8),
    (describe, 7),
    (sentence_with, 2),
    (dialogue, 2.5),
    (letter, 3),
    (title_task, 1.5),
    (animal_fact, 9),
    (colour, 2),
    (capital, 3.5),
    (definition, 6),
    (thing_use, 3),
    (common, 4),
    (live, 1.2),
    (opposite, 2.5),
    (calendar, 1.5),
    (arithmetic, 6),
    (text_topic, 1.5),
    (strange, 8),
    (word_problem, 2),
    (compare_numbers, 1.5),
    (number_after, 1),
    (counting, 3),
    (listing, 7),
    (how_to, 4),
    (reading, 5),
    (as_json, 1),
    (small_talk, 8),
    (identity, 5),
    (introduction, 2.5),
    (say, 4),
    (favourite, 1.2),
    (opinion, 1.2),
    (joke, 3),
    (riddle, 2),
    (advice, 3),
    (day_plan, 1.2),
    (unknown, 6),
]

FUNCTIONS, WEIGHTS = zip(*TASKS, strict=True)

# tasks whose answers begin with the fact itself
FACTS = {animal_fact, colour, capital, definition, common, live, describe, identity, advice, opinion, thing_use}

SYSTEM = ["You are a helpful assistant."] * 5 + [
    "You are a friendly assistant.",
    "You are a helpful AI assistant.",
    "You are a helpful assistant. Answer the user's questions.",
    "Be kind and clear.",
    "You are a small and friendly assistant.",
    "Answer clearly and politely.",
    "You are a helpful, honest assistant.",
    "You help people with simple questions.",
    "You are Tidepool, a small and friendly assistant.",
    "You are a storyteller who loves animals.",
    "You are a polite assistant who speaks simple English.",
]

# system message | before each answer | after it
STYLES = [
    ("You are a pirate.", "Ahoy! ", " Arr!"),
    ("Talk like a pirate.", "Ahoy! ", " Arr!"),
    ("You are a robot.", "Beep. ", " Beep."),
    ("Talk like a robot.", "Beep. ", " Beep."),
    ("You are very polite.", "With pleasure. ", ""),
    ("You are a cheerful assistant.", "", " Hooray!"),
    ("You are a wise old wizard.", "Hmm, let me think. ", ""),
]

BRIEF = ["Answer in one sentence.", "Keep your answers short.", "You are a helpful assistant. Answer in one sentence."]


def setting():
    """The assistant's name, the system message (or ""), and what that message does to an answer."""
    r = rng.random()
    if r < 0.30:
        return NAME, pick(SYSTEM), unchanged
    if r < 0.36:
        me = person_name()
        kind = "a [helpful|friendly|cheerful|small] [assistant|helper|robot|teacher|storyteller]."
        return me, fill(f"You are {me}, {kind}" + pick(["", " Be kind.", " Help the user."])), unchanged
    if r < 0.40:
        system, before, after = pick(STYLES)
        return NAME, system, lambda answer, fact: before + answer + after
    if r < 0.43:
        return NAME, pick(BRIEF), first_sentence
    return NAME, "", unchanged


def unchanged(answer, fact):
    return answer


def first_sentence(answer, fact):
    """A fact fits into one sentence; a story or a poem does not, so it stays whole."""
    return re.split(r"(?<=[.!?]) (?=[A-Z])", answer)[0] if fact else answer


def chat():
    """One conversation: an optional system message and one or more tasks. Returns the keys and the text."""
    me, system, shape = setting()
    keys, turns = [], []
    count = 1 if chance(0.6) else pick([2, 2, 3, 3, 4, 5, 6])
    for task in rng.choices(FUNCTIONS, WEIGHTS, k=count):
        key, new = task(me) if task is identity else task()
        keys += [key] if isinstance(key, str) else key
        # JSON stays JSON, whatever the manner of speaking
        turns += [(q, answer if task is as_json else shape(answer, task in FACTS)) for q, answer in new]
    text = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    text += "".join(
        f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n" for q, answer in turns
    )
    return keys, text


def plain():
    """Text without roles: a story, a poem or a few facts."""
    r = rng.random()
    if r < 0.6:
        s = new_story()
        head = title(s["slots"]) + "\n\n" if chance(0.25) else ""
        return [s["key"]], head + story_text(s, pick(["short", "normal", "normal", "long"])) + "<|endoftext|>"
    if r < 0.75:
        key, turns = pick([poem, describe])()
        return [key], turns[0][1] + "<|endoftext|>"
    facts = [
        pick([colour, capital, definition, animal_fact, thing_use, opposite, calendar])()
        for _ in range(pick([1, 2, 3, 4, 5]))
    ]
    return [k for k, _ in facts], " ".join(turns[0][1] for _, turns in facts) + "<|endoftext|>"
