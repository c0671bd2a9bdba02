"""Words to talk about: animals, things, names, invented words and the subjects of poems."""

from .draw import chance, pick, rng
from .lexicon.animals import ANIMALS
from .lexicon.answers import DEFINITIONS
from .lexicon.people import HE, HOBBIES, PEOPLE, SHE, TRAITS
from .lexicon.places import NATURE, NO_ARTICLE
from .lexicon.plots import PAST_VERBS
from .lexicon.things import FOODS, OBJECT_ADJ, OBJECTS, OTHER_NOUNS
from .lexicon.unknown import STRANGE_THINGS, UNKNOWN
from .phrasing import a, cap


def made_up():
    """An invented word, so that the model learns to copy words it has never seen."""
    onset = "b bl br c ch cl d dr f fl fr g gl gr h j k l m n p pl pr qu r s sh sl sn sp st t tr v w y z".split()
    core = "a e i o u ai ea ee oo ou".split()
    coda = ["", "", "n", "m", "l", "r", "ck", "ng", "sh", "t", "x", "zz", "nd"]
    word = "".join(pick(onset) + pick(core) + (pick(coda) if chance(0.5) else "") for _ in range(pick([1, 2, 2, 3])))
    word = word.lstrip("bcdfghjklmnpqrstvwyz") if chance(0.2) else word
    return word if len(word) > 3 else made_up()


def animal():
    return pick(ANIMALS)[0]


def thing():
    r = rng.random()
    if r < 0.1:
        return made_up()
    if r < 0.25:
        return pick(OTHER_NOUNS)
    if r < 0.3:
        return pick(STRANGE_THINGS)
    if r < 0.65:
        return pick(OBJECTS)[0]
    return pick(DEFINITIONS)[0] if r < 0.8 else animal()


def person_name():
    return cap(made_up()) if chance(0.1) else pick(pick([SHE, HE]))


def subject():
    """The subject of a poem, as the user names it ('an otter') and as the poem does ('the otter')."""
    r = rng.random()
    if r < 0.5:
        word = pick(NATURE)
        word = word if word in NO_ARTICLE else "the " + word
        return word, word
    if r < 0.59:
        word = pick([made_up, made_up, lambda: pick(HOBBIES), lambda: pick(UNKNOWN)])()
        return word, word
    if r < 0.64:
        word = f"{pick(OBJECT_ADJ)} {thing()}"
        return a(word), "the " + word
    word = animal() if r < 0.7 else made_up() if r < 0.8 else pick(OBJECTS)[0] if r < 0.95 else pick(PEOPLE)
    return pick([a(word), a(word), "the " + word, "my " + word]), "the " + word


def salad():
    """A few unrelated words."""
    return " ".join(
        pick(
            [
                thing,
                lambda: pick(TRAITS),
                lambda: pick(PAST_VERBS),
                lambda: pick(STRANGE_THINGS),
                lambda: pick(FOODS),
                lambda: pick("the a my of in on with and is are to for not very".split()),
                made_up,
            ]
        )()
        for _ in range(pick([1, 2, 3, 4, 5]))
    )
