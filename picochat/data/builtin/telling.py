"""How facts are told and asked: every wording of every attribute.

Keys of the formats: {n} the name or He/She at the start of a sentence, {m} the same inside one, {s} Mara's or
Her/His, {t} the same inside, {o} Mara or her/him, {i} her/him, {h} her/his, {e} she/he, {v} the value,
{a} the value with an article.
"""

import random

from picochat.data.builtin.world import Person, with_article

# The first wording of an attribute is the one that answers use: it is told most often. Name, verb, value:
# what follows a name closely is what a small model learns first.
TOLD: dict[str, tuple[str, ...]] = {
    "home": (
        "{n} lives in {v}.",
        "{s} home is in {v}.",
        "{s} house stands in {v}.",
        "{n} has always lived in {v}.",
        "{n} comes from {v}.",
        "{n} was born in {v} and still lives there.",
        "{n} walks home to {v} every evening.",
        "You will find {t} house in {v}.",
        "{n} would not leave {v} for all the gold in the world.",
    ),
    "trade": (
        "{n} works as {a}.",
        "{n} is {a} by trade.",
        "{n} earns {h} bread as {a}.",
        "{n} has been {a} for many years.",
        "{n} learned to be {a} as a child.",
        "{s} work is that of {a}.",
        "{n} is proud to be {a}.",
        "People know {o} as a good {v}.",
        "From Monday to Saturday {m} works as {a}.",
    ),
    "pet": (
        "{n} keeps {a}.",
        "{n} has {a} as a pet.",
        "{s} pet is {a}.",
        "{n} shares the house with {a}.",
        "{n} looks after {a}.",
        "{n} is never seen without {h} {v}.",
        "{n} tells {h} secrets to {a}.",
        "{s} {v} follows {i} everywhere.",
        "At home {a} waits for {o}.",
    ),
    "food": (
        "{n} loves {v}.",
        "{s} favourite food is {v}.",
        "{n} likes {v} best of all.",
        "{n} eats {v} whenever {e} can.",
        "{n} asks for {v} on every birthday.",
        "{n} could eat {v} every day.",
        "{n} never says no to {v}.",
        "For supper {m} wants {v}.",
        "Nothing cheers {o} up like {v}.",
    ),
    "door": (
        "{s} door is {v}.",
        "{s} front door is {v}.",
        "{n} has {a} door.",
        "{n} painted {h} door {v}.",
        "{n} lives behind {a} door.",
        "{n} chose {v} for {h} door.",
        "The door of {t} house is {v}.",
        "{n} opens {h} {v} door to every guest.",
        "Knock at the {v} door and you will meet {o}.",
    ),
}

ASKED: dict[str, tuple[str, ...]] = {
    "home": ("Where does {o} live?", "Where is {t} home?", "Where does {o} come from?"),
    "trade": ("What does {o} work as?", "What is {t} trade?", "What work does {o} do?"),
    "pet": ("What pet does {o} keep?", "What is {t} pet?", "What animal does {o} keep?"),
    "food": ("What food does {o} love?", "What is {t} favourite food?", "What does {o} love to eat?"),
    "door": ("What colour is {t} door?", "What is the colour of {t} door?", "What colour is {t} front door?"),
}


def _words(person: Person, attribute: str, *, named: bool) -> dict[str, str]:
    value = person.facts[attribute]
    name, his = person.name, person.his
    return {
        "n": name if named else person.he.capitalize(),
        "m": name if named else person.he,
        "s": f"{name}'s" if named else his.capitalize(),
        "t": f"{name}'s" if named else his,
        "o": name if named else person.him,
        "i": person.him,
        "h": his,
        "e": person.he,
        "v": value,
        "a": with_article(value),
    }


def answer(person: Person, attribute: str) -> str:
    """The fact in the wording of answers: `Mara lives in Elmford.`"""
    return TOLD[attribute][0].format(**_words(person, attribute, named=True))


def tell(rng: random.Random, person: Person, attribute: str, *, named: bool = True) -> str:
    """The fact in a random wording (the plain one three times in ten), by name or by pronoun."""
    wordings = TOLD[attribute]
    wording = wordings[0] if rng.random() < 0.2 else rng.choice(wordings)
    return wording.format(**_words(person, attribute, named=named))


def all_tellings(person: Person, attribute: str) -> list[str]:
    """The fact in every wording, by name."""
    return [wording.format(**_words(person, attribute, named=True)) for wording in TOLD[attribute]]


def questions(person: Person, attribute: str) -> list[str]:
    """Every question for the fact, by name."""
    return [wording.format(**_words(person, attribute, named=True)) for wording in ASKED[attribute]]


def follow_ups(person: Person, attribute: str) -> list[str]:
    """Questions for the fact that lean on a turn before: `And what is her pet?`"""
    # "does her live" must become "does she live": after "does" the pronoun is the subject.
    words = _words(person, attribute, named=False) | {"o": person.he}
    plain = [wording.format(**words) for wording in ASKED[attribute]]
    return [f"And {question[0].lower()}{question[1:]}" for question in plain]
