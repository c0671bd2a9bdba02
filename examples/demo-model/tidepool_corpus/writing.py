"""Chats that ask for a sentence, a dialogue, a letter or a title."""

import re

from .draw import pick
from .lexicon.facts import DAYS
from .lexicon.letters import LETTERS, RECIPIENTS, TOPIC_LETTER
from .lexicon.people import HE, HOBBIES, SHE, TRAITS
from .lexicon.places import SPOTS
from .lexicon.things import FOODS, OBJECT_ADJ, OBJECTS
from .nouns import animal, made_up, person_name, subject, thing
from .phrasing import a, bare, cap, casual, fill
from .stories import being


def sentence_with():
    x = thing()
    q = pick(
        [
            f"Write a sentence about {a(x)}.",
            f"Use the word {x} in a sentence.",
            f'Make a sentence with the word "{x}".',
            f"Write one sentence about {a(x)}.",
            f"Write a short sentence with {x}.",
            f"Give me a sentence about {a(x)}.",
        ]
    )
    t = pick(
        [
            "The {x} stood [by the window|in the corner|at the door] all [night|day] long.",
            "I have never seen such {a_adj} {x}.",
            "[My sister|My neighbour|The old man] talks about {a_x} every [day|evening].",
            "[Yesterday|Last week] I found {a_x} {spot}.",
            "Nobody in the village had ever seen {a_x} before.",
            "A good {x} is hard to find.",
        ]
    )
    return f"sentence {x}", [(casual(q), fill(t, x=x, a_x=a(x), a_adj=a(pick(OBJECT_ADJ[:6])), spot=pick(SPOTS)))]


def dialogue():
    one, two = being()["x"], being()["x"]
    topic = pick([pick(FOODS), pick(HOBBIES), "the weather", "the moon", "the night", "the sea", "winter", made_up()])
    speakers = cap(one), cap(two) + (" 2" if one == two else "")
    hello, reply = pick(
        [
            ("Good morning! How are you?", "I am well, thank you."),
            ("Hello, my friend.", "Hello! It is good to see you."),
            ("Good evening. You look tired.", "Oh, I was only thinking."),
            ("Is that you?", "Of course it is me!"),
        ]
    )
    begin = [
        f"I cannot stop thinking about {topic}.",
        f"Let us talk about {topic}.",
        f"What do you think about {topic}?",
    ]
    answer = [
        f"Ah, {topic}! It always makes me smile.",
        f"I do not know much about {topic}.",
        f"I like {topic} very much.",
    ]
    praise = [
        "So do I. It is good to talk to you.",
        "Then I will tell you everything I know.",
        "You are always so kind.",
    ]
    end = [
        "Let us sit down and have some tea.",
        "Come with me, and we will talk about it.",
        "See you tomorrow, then!",
    ]
    lines = [hello, reply] + [pick(options) for options in (begin, answer, praise, end)]
    q = casual(fill(f"[Write|Write me|Make up] a [short |]dialogue between {a(one)} and {a(two)} about {topic}."))
    text = "\n".join(f"{speakers[i % 2]}: {said}" for i, said in enumerate(lines[: pick([4, 6, 6])]))
    return f"dialogue {one} {two}", [(q, text)]


def letter():
    slots = dict(name=person_name(), obj=pick(OBJECTS)[0], day=pick(DAYS), food=pick(FOODS))
    slots.update(reader=pick(RECIPIENTS), topic=f"{pick(['the', 'a'])} {pick(OBJECT_ADJ + TRAITS)} {thing()}")
    slots.update(reader2=pick(RECIPIENTS), topic2=f"{pick(['the', 'my'])} {thing()}")
    kind, body = pick(LETTERS)
    kind = kind.format_map(slots)
    if body:
        who = slots["name"] if slots["name"] in kind else "Grandmother" if "grandmother" in kind else "Sir or Madam"
    else:
        who, topic = re.search(r"to my (.+?) about (.+)", kind).groups()
        body = fill(TOPIC_LETTER, topic=topic)
    q = fill(f"[Write|Write|Please write|Help me write|Can you write] {kind}")
    text = f"Dear {who},\n\n{fill(body, **slots)}\n\n"
    text += pick(["Best wishes", "Kind regards", "With warm wishes", "Your friend"])
    return f"letter {kind}", [(casual(q + ("?" if q.startswith("Can") else ".")), text)]


def title_task():
    x = subject()[0]
    noun = cap(bare(x))
    titles = [
        f"The Secret of {x.title()}",
        f"{noun} and the Long Night",
        f"A Letter to {x.title()}",
        f"The Last {noun}",
    ]
    shops = ["The Golden Spoon", "The Happy Corner", "Little Treats", "The Blue Door"]
    goods, some_animal = pick(FOODS), a(animal())
    pet = pick(["cat", "dog", "horse", "rabbit", "hamster", "parrot", "robot", "boat"])
    q, names = pick(
        [
            (f"Give me a title for a story about {x}.", titles),
            (f"Suggest a name for a shop that sells {goods}.", shops),
            (f"Give me a name for {some_animal}.", SHE + HE),
            (f"I need a name for my {pet}.", SHE + HE),
        ]
    )
    answer = pick(["How about {n}?", "I suggest {n}.", "You could call it {n}.", "{n} would be a good name."])
    answer = answer.format(n=f'"{pick(names)}"')
    return f"title {q}", [(casual(q), answer)]
