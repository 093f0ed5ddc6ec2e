"""Who lives in the valley and what is true of them: names, values, and the seeded draw that joins the two."""

import random
from dataclasses import dataclass

ATTRIBUTES = ("home", "trade", "pet", "food", "door")

VALUES: dict[str, tuple[str, ...]] = {
    "home": (
        *("Elmford", "Millbrook", "Ashby", "Larkhill", "Seagate", "Fernley"),
        *("Oakham", "Redcliff", "Foxdale", "Saltmarsh", "Stonebridge", "Applewick"),
    ),
    "trade": (
        *("baker", "fisher", "carpenter", "miller", "weaver", "potter"),
        *("teacher", "painter", "gardener", "sailor", "tailor", "farmer"),
    ),
    "pet": (
        *("cat", "dog", "goat", "parrot", "rabbit", "duck"),
        *("pony", "hen", "mouse", "crow", "turtle", "donkey"),
    ),
    "food": (
        *("soup", "porridge", "cake", "stew", "honey", "toast"),
        *("cheese", "pudding", "rice", "jam", "salad", "custard"),
    ),
    "door": (
        *("red", "blue", "green", "yellow", "white", "black"),
        *("brown", "grey", "pink", "purple", "orange", "silver"),
    ),
}

WOMEN = (
    *("Mara", "Nina", "Rosa", "Lily", "Ella", "Ida", "Ada", "Vera", "Tess", "Jane"),
    *("Kate", "Beth", "Cora", "Dora", "Eva", "Gwen", "Hana", "Inga", "Jill", "Lena"),
    *("Maud", "Nora", "Oona", "Pia", "Ruth", "Sara", "Tilda", "Una", "Wilma", "Zoe"),
)
MEN = (
    *("Tom", "Ben", "Sam", "Max", "Leo", "Jack", "Finn", "Hugo", "Otto", "Paul"),
    *("Carl", "Dan", "Eli", "Fred", "Gus", "Hal", "Ian", "Joel", "Kit", "Luke"),
    *("Nils", "Ned", "Owen", "Pete", "Rob", "Seth", "Theo", "Vic", "Walt", "Toby"),
)
# Names that nobody in the valley has: asked about them, the honest answer is "I do not know".
STRANGERS = (
    *("Bruno", "Clara", "Edgar", "Flora", "Greta", "Henry", "Ivan", "Julia", "Karl", "Laura"),
    *("Martin", "Nadia", "Oscar", "Paula", "Quinn", "Ralph", "Stella", "Ursula", "Victor", "Wanda"),
    *("Anton", "Berta", "Conrad", "Doris", "Emil", "Frieda", "Gordon", "Helga", "Igor", "Judith"),
)

# What problems count (singular, plural). Stories never mention these, so that a person and an object
# meet only where a problem joins them: that makes "this pair was never seen" provable.
OBJECTS: tuple[tuple[str, str], ...] = tuple(
    (word, word + "s")
    for word in (
        *("shell", "button", "marble", "bead", "stamp", "candle", "ribbon", "feather"),
        *("acorn", "pebble", "card", "nail", "cork", "bell", "spoon", "jar"),
        *("hook", "basket", "lamp", "mug", "pin", "medal", "plate", "badge"),
    )
)
# What the market sells; the prices are facts of the world, told in the pretraining text.
GOODS: tuple[tuple[str, str], ...] = (
    *(("apple", "apples"), ("pear", "pears"), ("onion", "onions"), ("carrot", "carrots")),
    *(("bun", "buns"), ("pie", "pies"), ("egg", "eggs"), ("nut", "nuts")),
    *(("fig", "figs"), ("lemon", "lemons"), ("peach", "peaches"), ("melon", "melons")),
)


@dataclass(frozen=True, kw_only=True)
class Person:
    """One inhabitant: a value for each of ATTRIBUTES. No training file asks about the `held_out`."""

    name: str
    female: bool
    facts: dict[str, str]
    held_out: bool

    @property
    def he(self) -> str:
        return "she" if self.female else "he"

    @property
    def him(self) -> str:
        return "her" if self.female else "him"

    @property
    def his(self) -> str:
        return "her" if self.female else "his"


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything that is true: the people, and the price in coins of each of GOODS (by its singular)."""

    people: tuple[Person, ...]
    prices: dict[str, int]

    @property
    def training_people(self) -> tuple[Person, ...]:
        return tuple(person for person in self.people if not person.held_out)

    @property
    def held_out_people(self) -> tuple[Person, ...]:
        return tuple(person for person in self.people if person.held_out)


def stream(seed: int, label: str) -> random.Random:
    """A random stream of its own per purpose: one part of the world can change without moving the others."""
    return random.Random(f"picochat world {seed} {label}")


def make_world(seed: int) -> World:
    """Draw who has what. Each value of an attribute is had by the same number of people, in both halves."""
    rng = stream(seed, "people")
    names = [(name, True) for name in WOMEN] + [(name, False) for name in MEN]
    rng.shuffle(names)
    half = len(names) // 2
    columns: dict[str, list[str]] = {}
    for attribute in ATTRIBUTES:
        # The halves are drawn apart so that no value is common among those asked and rare among the others.
        columns[attribute] = _spread(rng, attribute, half) + _spread(rng, attribute, len(names) - half)
    people = tuple(
        Person(name=name, female=female, facts={a: columns[a][i] for a in ATTRIBUTES}, held_out=i >= half)
        for i, (name, female) in enumerate(names)
    )
    prices = [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]
    rng.shuffle(prices)
    return World(people=people, prices={one: price for (one, _), price in zip(GOODS, prices, strict=True)})


def _spread(rng: random.Random, attribute: str, count: int) -> list[str]:
    values = list(VALUES[attribute])
    rng.shuffle(values)
    column = [values[i % len(values)] for i in range(count)]
    rng.shuffle(column)
    return column


def with_article(noun: str) -> str:
    """`a cat`, `an orange door`. Enough for the words of this world (no silent h, no `unit`)."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
