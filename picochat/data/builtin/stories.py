"""The prose of the pretraining text: portraits, stories, letters, lists, village pages, rolls of names."""

import random
from collections.abc import Callable

from picochat.data.builtin import scenes
from picochat.data.builtin.telling import answer, questions, tell
from picochat.data.builtin.world import ATTRIBUTES, GOODS, VALUES, Person, World, with_article


def _fill(sentence: str, person: Person, *, named: bool = True) -> str:
    return sentence.format(
        n=person.name if named else person.he.capitalize(),
        m=person.name if named else person.he,
        h=person.his,
        e=person.he,
        o=person.him,
    )


def _shuffled(rng: random.Random) -> list[str]:
    return rng.sample(ATTRIBUTES, len(ATTRIBUTES))


def portrait(rng: random.Random, world: World) -> str:
    """All that is true of one person, in any order; after the first sentence often by pronoun."""
    person = rng.choice(world.people)
    told = [tell(rng, person, a, named=i == 0 or rng.random() < 0.6) for i, a in enumerate(_shuffled(rng))]
    return " ".join(told)


def _scene(rng: random.Random, person: Person, attribute: str) -> str:
    value = person.facts[attribute]
    if attribute == "trade":
        return _fill(rng.choice(scenes.AT_WORK[value]), person, named=False)
    if attribute == "pet":
        return rng.choice(scenes.WITH_PET[value])
    return rng.choice({"food": scenes.AT_TABLE, "home": scenes.AT_HOME, "door": scenes.AT_DOOR}[attribute])


def story(rng: random.Random, world: World, person: Person | None = None) -> str:
    """Something small happens to one person; two to four facts come up on the way."""
    person = person or rng.choice(world.people)
    sentences = [_fill(rng.choice(scenes.OPENINGS), person)]
    for i, attribute in enumerate(_shuffled(rng)[: rng.randint(2, 4)]):
        sentences.append(tell(rng, person, attribute, named=i == 0 or rng.random() < 0.6))
        if rng.random() < 0.6:
            sentences.append(_scene(rng, person, attribute))
    sentences.append(_fill(rng.choice(scenes.ENDINGS), person))
    return " ".join(sentences)


def letter(rng: random.Random, world: World) -> str:
    """A letter from one to another about a third."""
    writer, reader, person = rng.sample(world.people, 3)
    met = rng.choice(
        (
            f"Yesterday I met {person.name}.",
            f"Do give my thanks to {person.name}.",
            f"I must tell you about {person.name}.",
            f"{person.name} came to tea on Sunday.",
        )
    )
    told = [
        tell(rng, person, a, named=i == 0 or rng.random() < 0.7) for i, a in enumerate(_shuffled(rng)[:3])
    ]
    parts = (rng.choice(scenes.GREETERS), met, *told, rng.choice(scenes.PARTINGS))
    return f"Dear {reader.name},\n{' '.join(parts)}\nYour friend {writer.name}"


_LABELS = {"home": "Home", "trade": "Trade", "pet": "Pet", "food": "Favourite food", "door": "Door"}


def register(rng: random.Random, world: World) -> str:
    """Entries of the valley's register: a line per person, or a line per fact."""
    if rng.random() < 0.5:
        person = rng.choice(world.people)
        lines = [f"{_LABELS[a]}: {person.facts[a]}" for a in _shuffled(rng)]
        return "\n".join([f"Name: {person.name}", *lines])
    people = rng.sample(world.people, 3)
    lines = []
    for person in people:
        told = [answer(person, a) for a in _shuffled(rng)[:3]]
        lines.append(" ".join(told))
    return "\n".join(lines)


_ROLLS = {
    "home": ("Who lives where in the valley:", "The postman knows them all."),
    "trade": ("The trades of the valley:", "There is work for every pair of hands."),
    "pet": ("The animals of the valley:", "It is a good place for animals."),
    "food": ("At the long table of the summer feast:", "Everyone is to get a favourite dish."),
    "door": ("A walk past the doors of the valley:", "No two streets look alike."),
}


def roll(rng: random.Random, world: World) -> str:
    """One attribute of several people, one after the other: close to a list."""
    attribute = rng.choice(ATTRIBUTES)
    people = rng.sample(world.people, rng.randint(4, 7))
    told = [tell(rng, person, attribute) for person in people]
    title = rng.choice(_ROLLS[attribute])
    return " ".join((title, *told)) if rng.random() < 0.5 else "\n".join((title, *told))


def gathering(rng: random.Random, world: World) -> str:
    """Those who share a value: a village and who lives there, a trade and who has it."""
    attribute = rng.choice(ATTRIBUTES)
    value = rng.choice(VALUES[attribute])
    people = [person for person in world.people if person.facts[attribute] == value]
    rng.shuffle(people)
    heading = {
        "home": f"{value} is a village of the valley, {rng.choice(scenes.PLACES[value])}."
        if attribute == "home"
        else "",
        "trade": f"The valley has need of every good {value}.",
        "pet": f"In the valley you may well meet {with_article(value)}.",
        "food": f"At the feast there is always {value}.",
        "door": f"Here is why you see so much {value} in the valley.",
    }[attribute]
    told = [tell(rng, person, attribute) for person in people]
    extra = tell(rng, people[0], rng.choice([a for a in ATTRIBUTES if a != attribute]))
    return " ".join((heading, *told, extra))


def meeting(rng: random.Random, world: World) -> str:
    """Two people meet and are told apart by what is true of each."""
    one, two = rng.sample(world.people, 2)
    where = rng.choice(("on the bridge", "at the market", "by the well", "at the harbour", "on the ferry"))
    about = rng.sample(ATTRIBUTES, 2)
    told = []
    for attribute in about:
        told += [tell(rng, one, attribute), tell(rng, two, attribute)]
    ending = rng.choice(
        (
            "They talked until the lights went on.",
            "They shook hands and went their ways.",
            "They have been friends ever since.",
            "It was the beginning of a long friendship.",
        )
    )
    return " ".join((f"{one.name} and {two.name} met {where}.", *told, ending))


def interview(rng: random.Random, world: World) -> str:
    """Questions and answers about people whose questions may be asked in training."""
    person = rng.choice(world.training_people)
    pairs = [
        (rng.choice(questions(person, a)), answer(person, a)) for a in _shuffled(rng)[: rng.randint(2, 5)]
    ]
    if rng.random() < 0.6:
        return "\n".join(line for pair in pairs for line in pair)
    who = rng.choice(("the postman", "a traveller", "the ferryman", "the new neighbour"))
    asked, told = pairs[0]
    more = " ".join(tell(rng, person, a) for a in _shuffled(rng)[:2])
    return f'"{asked}" asked {who}. "{told[:-1]}," said the innkeeper. {more}'


def valley(rng: random.Random, world: World) -> str:
    """A paragraph about the valley itself."""
    rows = [rng.choice(row) for row in scenes.VALLEY]
    drop = rng.randrange(1, len(rows))
    return " ".join(row for i, row in enumerate(rows) if i != drop or rng.random() < 0.5)


def price_list(rng: random.Random, world: World) -> str:
    """What things cost at the market."""
    goods = rng.sample(GOODS, rng.randint(3, 8))
    title = rng.choice(
        ("Prices at the market:", "At the market the prices never change.", "The market is open.")
    )
    wordings = ("{a} costs {p} coins.", "For {a} you pay {p} coins.", "{m} cost {p} coins each.")
    lines = []
    for one, many in goods:
        wording = wordings[0] if rng.random() < 0.5 else rng.choice(wordings)
        article = with_article(one)
        if wording.startswith("{"):
            article = article.capitalize()
        lines.append(wording.format(a=article, m=many.capitalize(), p=world.prices[one]))
    return " ".join((title, *lines)) if rng.random() < 0.5 else "\n".join((title, *lines))


DOCUMENTS: tuple[tuple[Callable[[random.Random, World], str], int], ...] = (
    (portrait, 30),
    (story, 26),
    (letter, 9),
    (register, 10),
    (roll, 14),
    (gathering, 5),
    (meeting, 9),
    (interview, 9),
    (valley, 4),
    (price_list, 4),
)
"""Each kind of document and how often it is written, relative to the others."""
