"""Word problems, a ladder of seven levels, each with its plan, its steps and its calculator call."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from picochat.data.builtin.split import is_test_combination, is_test_pair, number_pairs
from picochat.data.builtin.world import GOODS, OBJECTS, World, with_article

# From the easiest to the hardest to learn for a tiny model.
LEVELS = ("one-step", "times", "compare", "two-step", "many-step", "remainder", "price")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation on two numbers: `44+18` is 62 `shells`."""

    expression: str
    value: int
    unit: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question with all that its answer is made of.

    `plan` is the thought before the call; `expression` the whole sum as the calculator is asked; `pair` the
    first two numbers that it combines; `combinations` the (name, plural object) pairs of the text; `reply`
    the sentence with the result.
    """

    level: str
    question: str
    plan: str
    expression: str
    steps: tuple[Step, ...]
    reply: str
    pair: tuple[int, int]
    combinations: tuple[tuple[str, str], ...]

    @property
    def result(self) -> int:
        return self.steps[-1].value


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A scene in which a number of things grows and shrinks, as often as a problem has steps."""

    start: str
    more: tuple[str, ...]
    fewer: tuple[str, ...]
    ask: str
    reply: str


@dataclass(frozen=True, kw_only=True)
class Share:
    """A number of things split into equal groups; `groups` None: what is asked is the size of a group."""

    told: str
    ask: str
    groups: tuple[str, str] | None


FRAMES = (
    Frame(
        start="{n} has {x} {things}.",
        more=("finds {x} more", "buys {x} more", "gets {x} more from a friend"),
        fewer=("gives away {x}", "loses {x}", "sells {x}"),
        ask="How many {things} does {n} have now?",
        reply="{n} has {y} now.",
    ),
    Frame(
        start="There are {x} {things} in {n}'s box.",
        more=("puts in {x} more", "drops in {x} more"),
        fewer=("takes out {x}", "picks out {x}"),
        ask="How many {things} are in the box now?",
        reply="The box holds {y} now.",
    ),
    Frame(
        start="{n} sets out with {x} {things}.",
        more=("picks up {x} more on the way", "is given {x} more at the mill"),
        fewer=("drops {x} at the bridge", "hands {x} to a child"),
        ask="How many {things} does {n} bring home?",
        reply="{n} brings home {y}.",
    ),
)

# {a} containers with {b} things each: always the first number times the second.
TIMES = (
    ("{n} has {a} boxes. There are {b} {things} in each box.", "How many {things} does {n} have in all?"),
    ("{n} fills {a} bags. {He} puts {b} {things} into each bag.", "How many {things} are in the bags?"),
    ("For {a} days {n} finds {b} {things} a day.", "How many {things} does {n} find in all?"),
)
SHARES = (
    Share(
        told="{n} packs {a} {things} into boxes of {b}.",
        ask="How many full boxes are there?",
        groups=("full box", "full boxes"),
    ),
    Share(
        told="{n} ties up {a} {things} in bundles of {b}.",
        ask="How many full bundles are there?",
        groups=("full bundle", "full bundles"),
    ),
    Share(
        told="{n} shares {a} {things} equally among {b} children.",
        ask="How many {things} does each child get?",
        groups=None,
    ),
)
REST = "How many {things} are left over?"


def _count(number: int, thing: tuple[str, str]) -> str:
    return f"{number} {thing[0] if number == 1 else thing[1]}"


def _single(
    level: str,
    question: str,
    plan: str,
    expression: str,
    counted: tuple[int, str],
    reply: str,
    combinations: tuple[tuple[str, str], ...],
) -> Problem:
    """A problem of one operation; `counted` is the result and its unit."""
    return Problem(
        level=level,
        question=question,
        plan=plan,
        expression=expression,
        steps=(Step(expression=expression, value=counted[0], unit=counted[1]),),
        reply=reply,
        pair=number_pairs(expression)[0],
        combinations=combinations,
    )


def _chain(rng: random.Random, world: World, level: str, changes: int) -> Problem:
    person, thing, frame = rng.choice(world.people), rng.choice(OBJECTS), rng.choice(FRAMES)
    clauses = {"+": rng.sample(frame.more, len(frame.more)), "-": rng.sample(frame.fewer, len(frame.fewer))}
    names = {"n": person.name, "things": thing[1]}
    start = total = rng.randint(2, 99)
    text, expression = [frame.start.format(x=start, **names)], str(start)
    steps: list[Step] = []
    for i in range(changes):
        signs = [sign for sign in clauses if clauses[sign]]
        # A small heap has to grow first, a large one to shrink: totals stay between 0 and about 200.
        sign = (
            "+" if total < 10 and "+" in signs else "-" if total > 120 and "-" in signs else rng.choice(signs)
        )
        number = rng.randint(2, 99) if sign == "+" else rng.randint(2, max(2, min(99, total)))
        clause = clauses[sign].pop().format(x=number)
        text.append(f"Then {person.he} {clause}." if i else f"{person.he.capitalize()} {clause}.")
        expression += f"{sign}{number}"
        value = total + number if sign == "+" else total - number
        steps.append(Step(expression=f"{total}{sign}{number}", value=value, unit=thing[1]))
        total = value
    return Problem(
        level=level,
        question=" ".join([*text, frame.ask.format(**names)]),
        plan=_chain_plan(expression),
        expression=expression,
        steps=tuple(steps),
        reply=frame.reply.format(y=total, **names),
        pair=number_pairs(expression)[0],
        combinations=((person.name, thing[1]),),
    )


def _chain_plan(expression: str) -> str:
    moves = ["add" if sign == "+" else "take away" for sign in expression if sign in "+-"]
    if len(moves) == 1:
        return f"I {moves[0]}."
    return f"First I {moves[0]}, " + ", ".join(f"then I {move}" for move in moves[1:]) + "."


def _one_step(rng: random.Random, world: World) -> Problem:
    return _chain(rng, world, "one-step", 1)


def _two_step(rng: random.Random, world: World) -> Problem:
    return _chain(rng, world, "two-step", 2)


def _many_step(rng: random.Random, world: World) -> Problem:
    return _chain(rng, world, "many-step", rng.choice((3, 4)))


def _times(rng: random.Random, world: World) -> Problem:
    person, thing = rng.choice(world.people), rng.choice(OBJECTS)
    a, b = rng.randint(2, 20), rng.randint(2, 12)
    told, ask = rng.choice(TIMES)
    words = {"n": person.name, "He": person.he.capitalize(), "things": thing[1], "a": a, "b": b}
    question = f"{told} {ask}".format(**words)
    plan, reply = "The groups are equal, so I multiply.", f"That makes {a * b} {thing[1]} in all."
    combinations = ((person.name, thing[1]),)
    return _single("times", question, plan, f"{a}*{b}", (a * b, thing[1]), reply, combinations)


def _compare(rng: random.Random, world: World) -> Problem:
    one, two = rng.sample(world.people, 2)
    thing = rng.choice(OBJECTS)
    things, combinations = thing[1], ((one.name, thing[1]), (two.name, thing[1]))
    few, many = sorted(rng.sample(range(2, 100), 2))
    kind = rng.choice(("more", "fewer", "swapped", "sum", "other"))
    if kind in ("sum", "other"):
        a, b = rng.choice(((few, many), (many, few)))
        if kind == "sum":
            question = f"{one.name} has {a} {things} and {two.name} has {b}. "
            question += f"How many {things} do they have together?"
            plan, reply = "I want all of them, so I add.", f"Together they have {a + b} {things}."
        else:
            question = f"{one.name} has {a} {things}. {two.name} has {b} more than {one.name}. "
            question += f"How many {things} does {two.name} have?"
            plan, reply = f"{two.name} has more, so I add.", f"{two.name} has {a + b} {things}."
        return _single("compare", question, plan, f"{a}+{b}", (a + b, things), reply, combinations)
    first, second = (few, many) if kind == "swapped" else (many, few)
    richer = two if kind == "swapped" else one
    word, subject, other = (
        ("fewer", two, one) if kind == "fewer" else ("more", richer, two if richer is one else one)
    )
    question = (
        f"{one.name} has {first} {things} and {two.name} has {second}. "
        f"How many {word} {things} does {subject.name} have than {other.name}?"
    )
    plan = "I want the difference, so I take the smaller number away."
    reply = f"{subject.name} has {many - few} {word}."
    return _single("compare", question, plan, f"{many}-{few}", (many - few, things), reply, combinations)


def _remainder(rng: random.Random, world: World) -> Problem:
    person, thing, share = rng.choice(world.people), rng.choice(OBJECTS), rng.choice(SHARES)
    b = rng.randint(3, 12)
    a = rng.randint(b + 1, 99)
    names = {"n": person.name, "things": thing[1], "a": a, "b": b}
    combinations = ((person.name, thing[1]),)
    if rng.random() < 0.5:
        rest = a % b
        plan, unit = "I want what is left over, so I use %.", thing[1]
        reply = f"{_count(rest, thing)} {'is' if rest == 1 else 'are'} left over."
        expression, value, ask = f"{a}%{b}", rest, REST
    else:
        plan, value, ask = "I want the whole groups, so I use //.", a // b, share.ask
        expression, unit = f"{a}//{b}", (share.groups or thing)[1]
        counted = _count(value, share.groups or thing)
        reply = f"That makes {counted}." if share.groups else f"Each child gets {counted}."
    question = f"{share.told} {ask}".format(**names)
    return _single("remainder", question, plan, expression, (value, unit), reply, combinations)


def _price(rng: random.Random, world: World) -> Problem:
    person = rng.choice(world.people)
    good, good2 = rng.sample(GOODS, 2)
    a, b = rng.randint(2, 20), rng.randint(2, 9)
    price, price2 = world.prices[good[0]], world.prices[good2[0]]
    plan = f"{with_article(good[0]).capitalize()} costs {price} coins"
    steps = [Step(expression=f"{a}*{price}", value=a * price, unit="coins")]
    combinations = ((person.name, good[1]),)
    kind = rng.choice(("pay", "both", "left"))
    if kind == "pay":
        question = f"{person.name} buys {a} {good[1]} at the market. How many coins does {person.he} pay?"
        plan, expression = f"{plan}, so I multiply.", f"{a}*{price}"
    elif kind == "both":
        question = f"{person.name} buys {a} {good[1]} and {b} {good2[1]} at the market. "
        question += f"How many coins does {person.he} pay?"
        plan += f" and {with_article(good2[0])} costs {price2} coins, so I multiply and add."
        expression = f"{a}*{price}+{b}*{price2}"
        steps.append(Step(expression=f"{b}*{price2}", value=b * price2, unit="coins"))
        total = a * price + b * price2
        steps.append(Step(expression=f"{a * price}+{b * price2}", value=total, unit="coins"))
        combinations += ((person.name, good2[1]),)
    else:
        purse = rng.randint(a * price, 199)
        question = f"{person.name} has {purse} coins and buys {a} {good[1]} at the market. "
        question += f"How many coins does {person.he} have left?"
        plan, expression = f"{plan}, so I multiply and take away.", f"{purse}-{a}*{price}"
        steps.append(Step(expression=f"{purse}-{a * price}", value=purse - a * price, unit="coins"))
    total = steps[-1].value
    counted = _count(total, ("coin", "coins"))
    return Problem(
        level="price",
        question=question,
        plan=plan,
        expression=expression,
        steps=tuple(steps),
        reply=f"{person.name} has {counted} left." if kind == "left" else f"{person.name} pays {counted}.",
        pair=(a, price),
        combinations=combinations,
    )


MAKERS: dict[str, Callable[[random.Random, World], Problem]] = {
    "one-step": _one_step,
    "times": _times,
    "compare": _compare,
    "two-step": _two_step,
    "many-step": _many_step,
    "remainder": _remainder,
    "price": _price,
}


def _fits(problem: Problem, *, test: bool) -> bool:
    if any(step.value < 0 for step in problem.steps):
        return False
    if test:
        return is_test_pair(*problem.pair) and all(is_test_combination(*c) for c in problem.combinations)
    # Not only the first pair: no two numbers that a training problem joins, at any step, may be a test pair.
    sums = [problem.expression, *(step.expression for step in problem.steps)]
    pairs = [problem.pair, *(pair for text in sums for pair in number_pairs(text))]
    told = re.findall(r"\d+", problem.question)
    if len(told) > 1:
        pairs.append((int(told[0]), int(told[1])))
    return not any(is_test_pair(*pair) for pair in pairs) and not any(
        is_test_combination(*c) for c in problem.combinations
    )


def make_problem(rng: random.Random, world: World, level: str, *, test: bool = False) -> Problem:
    """Draw a problem of `level` from the side of the split that is asked for."""
    while True:
        problem = MAKERS[level](rng, world)
        if _fits(problem, test=test):
            return problem
