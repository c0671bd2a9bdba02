"""Chats about stories: requests for one, questions about it, continuations and summaries."""

from .draw import chance, pick, rng, usual
from .lexicon.facts import NUMBER_WORDS
from .lexicon.people import HE, SHE
from .lexicon.plots import THEMES
from .phrasing import a, cap, casual, fill
from .stories import NOUNS, OPENINGS, PLOTS, being, described, few_sentences, new_story, story_text, title

TELL = "[Tell me|Tell me|Write|Write me|Please tell me|Can you tell me|Could you write|I would like|Give me|Make up]"


def ask_story(about, size="story"):
    """A request for a story, with the full stop or question mark that fits."""
    q = fill(f"{TELL} {a(size)} about {about}") if chance(0.9) else fill(f"[{cap(size)} about|A {size} about] {about}")
    return casual(q + ("?" if q.startswith(("Can", "Could")) else "."))


def story():
    """A request for a story in one of many forms, the story, and perhaps questions about it."""
    r, hero = rng.random(), being()
    if r >= 0.5 and chance(0.6):  # no plot is asked for
        s = new_story(PLOTS[usual(hero["x"], list(PLOTS), 4, 1)], hero)
    else:
        s = new_story(hero=hero)
    hero, friend = s["hero"], s["friend"]
    length = pick(["normal"] * 4 + ["short", "long"])
    size = {"short": pick(["short story", "little story", "very short story"]), "long": "long story"}.get(
        length, pick(["story", "story", "story", "bedtime story", "nice story", "fairy tale", "tale"])
    )
    about = described(hero)
    if hero["name"] and not hero["adj"] and chance(0.12):
        about = f"my {hero['x']} {hero['name']}"
    if r < 0.5:
        about += " who " + s["ask"]
        if chance(0.15):
            about += " " + s["place"][1]
        answer = story_text(s, length)
    elif r < 0.58:
        answer = story_text(s, length)
    elif r < 0.61:  # only a name
        hero = dict(hero, x="girl" if hero["she"] else "boy", adj="", name=pick(SHE if hero["she"] else HE))
        s = new_story(s["plot"], hero, friend, s["place"])
        about, answer = hero["name"] + (" who " + s["ask"] if chance(0.5) else ""), story_text(s, length)
    elif r < 0.64:
        s = new_story(PLOTS[pick(["lost", "found", "broken"])], hero, friend, s["place"])
        about, answer = f"{about} {pick(['and', 'with'])} {s['slots']['a_obj']}", story_text(s, length)
    elif r < 0.70:
        about += " " + s["place"][1]
        answer = story_text(s, length)
    elif r < 0.80:  # two heroes
        s = new_story(
            PLOTS[pick(["friend", "help", "bridge", "sack", "dark", "boat", "treasure"])], hero, friend, s["place"]
        )
        about += " and " + described(s["friend"], named=False)
        answer = story_text(s, length)
    elif r < 0.87:  # a theme
        theme, plot = pick(THEMES)
        s = new_story(PLOTS[plot], being(usual(theme, NOUNS, 4)) if chance(0.7) else hero)
        about, answer = theme, story_text(s, length)
        s["key"] = f"theme {theme} {hero['x']}"
    elif r < 0.92:  # no subject given
        q = fill(f"{TELL} {a(size)}")
        q = pick(
            [
                q + ("?" if q.startswith(("Can", "Could")) else "."),
                "Story time!",
                "Story, please.",
                "I want to hear a story.",
                "Do you know a good story?",
                "Can you tell stories?",
                "Write something creative.",
            ]
        )
        return s["key"], story_followups(s, [(casual(q), story_text(s, length))])
    else:
        n = pick([1, 2, 3])
        who = about + (" who " + s["ask"] if chance(0.6) else "")
        q = fill(f"{TELL} [a|a short] story about {who} in {NUMBER_WORDS[n]} sentence{'s' * (n > 1)}")
        return s["key"], [(casual(q + ("?" if q.startswith(("Can", "Could")) else ".")), few_sentences(s, n))]
    return s["key"], story_followups(s, [(ask_story(about, size), answer)])


def story_followups(s, turns):
    """Questions about the story just told, sometimes."""
    slots, hero = s["slots"], s["hero"]
    the_x = slots["the_x"]
    options = [
        ("[What is|What was|Tell me] the moral of the story?", "the moral is that " + s["plot"]["moral"] + "."),
        (
            "[Can you summarise it|Summarise the story|Give me a summary|What is the story about]?",
            s["plot"]["summary"] + ".",
        ),
        (f"[Where did|Where does] {the_x} live?", "{the_x} lived {in_place}."),
        (
            "[Give the story a title|What is a good title for it|What would be a good title]?",
            '[A good title is|You could call it] "' + title(slots) + '".',
        ),
    ]
    if hero["name"]:
        q = f"[What was the name of {the_x}|What was {the_x} called|What is the {hero['x']}'s name]?"
        options.append((q, f"[the name of {the_x} was|{the_x} was called] {hero['name']}."))
    while len(turns) < 4 and chance(0.22):
        q, answer = options.pop(int(rng.random() * len(options)))
        turns.append((casual(fill(q, **slots)), fill(answer, **slots)))
    return turns


def more_stories():
    """A second story on request, about the same hero."""
    s = new_story()
    key, turns = s["key"], [(ask_story(described(s["hero"])), story_text(s, "short"))]
    again = new_story(hero=s["hero"])
    q = pick(
        [
            "Another one, please.",
            "Tell me another one.",
            "One more!",
            "Another story, please.",
            "More!",
            "Again!",
            "Tell me another story about " + s["slots"]["the_x"] + ".",
        ]
    )
    turns.append((q, story_text(again, "short")))
    return [key, again["key"]], turns


def continue_story():
    s = new_story()
    parts = [fill(pick(OPENINGS), **s["slots"])] + [fill(pick(v), **s["slots"]) for _, v in s["plot"]["stages"]]
    q = pick(["Continue this story: ", "Finish this story: ", "How does this story go on? ", "What happens next? "])
    return s["key"], [(q + " ".join(parts[:3]), " ".join(parts[3:]))]


def summarise():
    s = new_story()
    q = pick(
        [
            "Summarise this story: ",
            "Summarise this text in one sentence: ",
            "Give me a short summary: ",
            "What is this story about? ",
        ]
    )
    return s["key"], [(q + story_text(s, "short"), fill(s["plot"]["summary"] + ".", **s["slots"]))]
