"""Story telling: chooses hero, friend, place and plot (new_story) and tells the story (story_text)."""

import functools
import re

from .draw import chance, pick, rng, usual
from .lexicon.animals import ANIMALS
from .lexicon.facts import CAPITALS
from .lexicon.people import GOOD_TRAITS, HE, HOBBIES, JOBS, PEOPLE, SHE, TRAITS
from .lexicon.places import ANYWHERE, PLACES, SPOTS
from .lexicon.plots import CLAUSES, PAST_VERBS, parse_plots
from .lexicon.things import FOODS, FRAGILE, OBJECT_ADJ, OBJECTS, OTHER_NOUNS, SNACKS
from .nouns import animal, made_up
from .phrasing import a, cap, fill

PLOTS = {p["name"]: p for p in parse_plots()}

OPENINGS = [
    "[Once upon a time|Long ago|Once], {in_place}, there lived {a_hero}.",
    "[There was once|Once there was] {a_hero} who lived {in_place}.",
    "{in_place} lived {a_hero}.",
    "Once upon a time there was {a_hero}. {he} lived {in_place}.",
]

EXTRAS = [
    "{he} was [very {trait}|{trait} and {trait2}], and {he} loved {hobby}.",
    "it was a quiet place that smelled of {smell}.",
    "there were {sights} all around.",
    "everyone there knew {him}, because {he} was so {trait}.",
]

NOUNS = [row[0] for row in ANIMALS] + PEOPLE


HOMES = {row[0]: row[3] for row in ANIMALS}


@functools.cache
def natural_places(noun):
    """Places that the animal table names as the home of this animal."""
    return [p for p in PLACES if re.search(r"\b" + p[0].rstrip("s"), HOMES.get(noun, ""))]


def place_for(noun):
    """Where a story about this hero may happen."""
    if chance(0.1):
        name = pick([pick(CAPITALS)[1], pick(CAPITALS)[0], cap(made_up())])
        return (name, "in " + name, *ANYWHERE)
    if noun not in NOUNS:
        return pick(PLACES)
    return pick(natural_places(noun)) if natural_places(noun) and chance(0.7) else usual(noun, PLACES, 4)


def being(noun=None):
    """A hero: noun, perhaps an adjective and a name."""
    r = rng.random()
    noun = noun or (animal() if r < 0.5 else pick(PEOPLE) if r < 0.83 else pick(OTHER_NOUNS) if r < 0.9 else made_up())
    she = noun in ("queen", "princess", "grandmother", "girl", "mermaid", "fairy") or (
        chance(0.5) and noun not in ("king", "prince", "grandfather", "boy")
    )
    return dict(
        x=noun,
        adj=pick(TRAITS) if chance(0.35) else "",
        she=she,
        name=(cap(made_up()) if chance(0.2) else usual(noun, SHE if she else HE, 8)) if chance(0.5) else "",
    )


def described(b, named=True):
    """'a shy fox named Mira'"""
    text = a((b["adj"] + " " + b["x"]).strip())
    return text + (pick([" named ", " called "]) + b["name"] if named and b["name"] else "")


def new_story(plot=None, hero=None, friend=None, place=None):
    """Choose all that a story needs; story_text() tells it."""
    plot = plot or PLOTS["clause" if chance(0.1) else pick(list(PLOTS))]
    hero = hero or being()
    x = hero["x"]
    friend = friend or being(
        usual(x, NOUNS, 4) if x in NOUNS and chance(0.7) else pick(NOUNS) if chance(0.85) else made_up()
    )
    while friend["x"] == x:
        friend = being(pick(NOUNS))
    place = place or place_for(x)
    objects = FRAGILE if plot["name"] in ("lie", "broken") else [o[0] for o in OBJECTS]
    obj = (pick(OBJECT_ADJ) + " " if chance(0.3) else "") + (
        made_up() if chance(0.08) else pick(OTHER_NOUNS) if chance(0.15) else usual(x, objects, 5)
    )
    obj = obj.replace("broken ", "old ")
    job, hobby, trait = pick(JOBS), usual(x, HOBBIES, 4), hero["adj"] or usual(x, TRAITS, 4)
    s = dict(
        x=hero["x"],
        the_x="the " + hero["x"],
        a_hero=described(hero),
        obj=obj,
        a_obj=a(obj),
        the_obj="the " + obj,
        a_obj2=a(pick(OBJECTS)[0]),
        hero=f"[the {hero['x']}|{hero['name']}]" if hero["name"] else "the " + hero["x"],
        a_friend=described(friend, named=False),
        the_friend="the " + friend["x"],
        job=job,
        a_job=a(job),
        hobby=hobby,
        hobby_cap=cap(hobby),
        food=usual(x, FOODS, 4),
        snack=pick(SNACKS),
        spot=pick(SPOTS),
        in_place=place[1],
        sights=place[2],
        smell=place[4],
        trait=trait,
        trait2=pick([t for t in GOOD_TRAITS if t != trait]),
    )
    for suffix, b in (("", hero), ("2", friend)):
        pronouns = ("she", "her", "her", "herself") if b["she"] else ("he", "him", "his", "himself")
        s.update(zip(("he" + suffix, "him" + suffix, "his" + suffix, "himself" + suffix), pronouns, strict=True))
    s["clause"] = (
        pick(CLAUSES).format_map(s)
        if chance(0.4)
        else (made_up() + "ed" if chance(0.15) else pick(PAST_VERBS))
        + " "
        + pick([s["a_obj"], s["the_obj"], pick(ANIMALS)[1], a(animal()), made_up(), s["food"], "a " + made_up()])
    )
    return dict(
        plot=plot,
        hero=hero,
        friend=friend,
        place=place,
        slots=s,
        ask=plot["ask"].format_map(s),
        key=f"story {hero['x']} {plot['ask'].format_map(dict(s, a_friend=a(friend['x'])))}",
    )


def story_text(s, length="normal"):
    """Tell the story; the length decides how many of the optional sentences are kept."""
    plot, slots = s["plot"], s["slots"]
    keep = dict(short=0.1, normal=0.55, long=1)[length]
    parts = [pick(OPENINGS)] + ([pick(EXTRAS)] if chance(keep) else [])
    parts += [pick(variants) for optional, variants in plot["stages"] if not optional or chance(keep)]
    if chance(0.15):
        parts.append("and that is the end of the story.")
    lines = [fill(p, **slots) for p in parts]
    in_paragraphs = length == "long" or (length == "normal" and chance(0.3))
    if in_paragraphs:
        cut = len(lines) // 3
        lines = [" ".join(lines[:cut]), " ".join(lines[cut : 2 * cut]), " ".join(lines[2 * cut :])]
        return "\n\n".join(lines)
    return " ".join(lines)


def few_sentences(s, n):
    """The story in one, two or three sentences."""
    summary = s["plot"]["summary"]
    if n == 1:
        return fill(f"[one day|once] {summary}.", **s["slots"])
    end = ["and they [were friends|lived happily] ever after."] if n == 3 else []
    return " ".join(fill(t, **s["slots"]) for t in [OPENINGS[1], f"one day {summary}.", *end])


def title(slots):
    x, o = cap(slots["x"]), slots["obj"].title()
    return pick(
        [
            f"The {x} and the {o}",
            f"The {x}'s Adventure",
            f"The {cap(slots['trait'])} {x}",
            f"A Friend for the {x}",
            f"The {x} and the {slots['the_friend'][4:].title()}",
            f"The {x} Who Did Not Give Up",
        ]
    )
