"""Chats that ask for a poem or for the description of a place."""

from .draw import chance, pick, rng, usual_places
from .lexicon.facts import CAPITALS
from .lexicon.places import ANYWHERE, PARTS_OF_DAY, PLACES, WEATHER
from .lexicon.poems import COUPLETS, HAIKU
from .lexicon.unknown import STRANGE_THINGS
from .nouns import made_up, subject
from .phrasing import a, cap, casual, fill


def poem():
    asked, x = subject()
    if chance(0.2):
        q = fill(f"[Write a haiku about|Write me a haiku about|Haiku about|A haiku about] {asked}.")
        return f"haiku {x}", [(casual(q), "\n".join(cap(t.format(x=x, X=cap(x))) for t in pick(HAIKU)))]
    n = pick([1, 2, 2, 2, 3, 3, 4])
    size = "short poem" if n == 1 else "long poem" if n == 4 else "poem"
    own = [COUPLETS[i] for i in usual_places(x, len(COUPLETS), 7)]
    couplets = rng.sample(own if chance(0.6) else COUPLETS, n)
    if not any("{x}" in c or "{X}" in c for c in couplets[:1]):
        couplets[0] = COUPLETS[int(rng.random() * 6)]
    lines = [line.strip() for c in couplets for line in c.split(" / ")]
    lines = [cap(t.format(x=x, X=cap(x))) for t in lines]
    text = "\n".join(line + ("\n" if i in (3, 7) and i < len(lines) - 1 else "") for i, line in enumerate(lines))
    q = fill(f"[Write|Write me|Can you write|Please write|Make|Compose|Give me|I would like] {a(size)} about {asked}")
    if chance(0.1):
        q = fill(f"[Poem about|A poem about|Write a limerick about|Write a rhyme about|Write a song about] {asked}")
    return f"poem {x}", [(casual(q + ("?" if q.startswith("Can") else ".")), text)]


def describe():
    row = pick(PLACES)
    if chance(0.2):
        name = pick(
            [pick(CAPITALS)[1], pick(CAPITALS)[0], cap(made_up()), "the " + made_up(), "the " + pick(STRANGE_THINGS)]
        )
        row = (name, "in " + name, *ANYWHERE)
    place, sights, sound, smell, word = *row[1:], pick(WEATHER)
    adjective, opening, sky, detail, feeling = word
    part = pick(PARTS_OF_DAY)
    if chance(0.75):
        asked, key = f"{a(adjective)} {part} {place}", f"describe {adjective} {place}"
        first = pick(
            [
                f"It is {a(adjective)} {part} {place}. {opening}.",
                f"It is {a(adjective) + ' day' if part == 'day' else part} {place}. {opening}.",
                f"{opening} {place}. {sky}.",
            ]
        )
    else:
        part = pick(PARTS_OF_DAY[1:])
        asked, key = f"{a(part)} {place}", f"describe {part} {place}"
        first = f"It is {part} {place}. {sky}."
    middle = [
        f"you can see {sights}.",
        f"[there is the sound of|you can hear] {sound}.",
        f"[the air smells|it smells] of {smell}.",
        f"{detail}.",
    ]
    if "of" in first and sky in first:
        middle = middle[:3]
    rng.shuffle(middle)
    end = pick(
        [
            f"it makes you feel {feeling}.",
            f"it is a good {part} to [sit still|take a slow walk|drink hot tea].",
            f"everything feels {feeling}.",
            "you could stay here for hours.",
            "time seems to stand still.",
        ]
    )
    text = fill(" ".join([first, *middle[: pick([2, 3, 4])], end]))
    q = fill(
        "[Describe|Describe|Please describe|Can you describe"
        f"|Write a description of|Paint a picture in words of] {asked}"
    )
    return key, [(casual(q + ("?" if q.startswith("Can") else ".")), text)]
