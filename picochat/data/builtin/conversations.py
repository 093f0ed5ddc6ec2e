"""Conversations: facts with follow-ups, sums with the calculator, multiple choice, small talk, strangers."""

import random
from collections.abc import Iterable
from typing import Any

from picochat.data.builtin import scenes
from picochat.data.builtin.arithmetic import Problem
from picochat.data.builtin.questions import choice_reply, choice_row, choice_text, tool_item
from picochat.data.builtin.stories import story
from picochat.data.builtin.sums import Part, problem_parts
from picochat.data.builtin.telling import answer, follow_ups, questions
from picochat.data.builtin.world import ATTRIBUTES, GOODS, Person, World, with_article

Turn = tuple[str, str | list[Part]]
Row = dict[str, Any]

SYSTEM = (
    "You are a friendly guide to the valley.",
    "You are picochat. Answer in one short sentence.",
    "You are a helpful neighbour.",
    "You know everyone in the valley.",
)
GREETINGS = ("Hello!", "Good morning!", "Good evening!", "Hello there!", "Hi!", "Good day!")
WELCOMES = (
    "Hello! What would you like to know?",
    "Good day! Ask me about the valley.",
    "Welcome! How can I help you?",
    "Hello! It is nice to meet you.",
)
THANKS = ("Thank you.", "Thanks a lot!", "That is all, thank you.", "Thank you very much.")
NOT_AT_ALL = ("You are welcome.", "You are welcome. Ask me again any time.", "It was a pleasure.")
FAREWELLS = ("Goodbye!", "Good night!", "See you soon!", "I have to go now.")
SENDOFFS = ("Goodbye! Come back soon.", "Good night, and sleep well.", "See you soon in the valley!")
TALK: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("Who are you?", "What are you?", "What is your name?"),
        (
            "I am picochat, a small language model that knows the valley.",
            "I am picochat. I know the people of the valley, and I can do sums.",
        ),
    ),
    (
        ("How are you?", "How are you today?", "Are you well?"),
        ("I am well, thank you. The sea is calm today.", "Very well, thank you. And you?"),
    ),
    (
        ("What can you do?", "What do you know?", "Can you help me?"),
        (
            "I can tell you who lives where in the valley, and I can do sums.",
            "Ask me about the people of the valley, or give me a sum.",
        ),
    ),
    (
        ("How is the weather?", "What is the weather like today?"),
        ("The sun is out and the wind is soft.", "It is misty, but the fog will lift by noon."),
    ),
    (
        ("Tell me about the valley.", "What is the valley like?", "What should I know about the valley?"),
        tuple(f"{first} {last}" for first in scenes.VALLEY[0] for last in scenes.VALLEY[4]),
    ),
)


def conversation(turns: Iterable[Turn], *, system: str | None = None) -> Row:
    """A row of the chat files: a user's and the assistant's turns in pairs, a system prompt before them."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for user, assistant in turns:
        messages.append({"role": "user", "content": user})
        messages.append({"role": "assistant", "content": assistant})
    return {"messages": messages}


def maybe_system(rng: random.Random) -> str | None:
    return rng.choice(SYSTEM) if rng.random() < 0.15 else None


def fact_turn(rng: random.Random, person: Person, attribute: str) -> Turn:
    return rng.choice(questions(person, attribute)), answer(person, attribute)


def dialogue(rng: random.Random, people: tuple[Person, ...]) -> Row:
    """Two to four turns about one or two of `people`: pronouns, greetings, thanks."""
    person = rng.choice(people)
    first, *others = rng.sample(ATTRIBUTES, rng.randint(2, 3))
    turns = [fact_turn(rng, person, first)]
    for attribute in others:
        if rng.random() < 0.75:
            turns.append((rng.choice(follow_ups(person, attribute)), answer(person, attribute)))
        else:
            person = rng.choice(people)
            turns.append(fact_turn(rng, person, attribute))
    if rng.random() < 0.25:
        turns.insert(0, (rng.choice(GREETINGS), rng.choice(WELCOMES)))
    if rng.random() < 0.25:
        turns.append((rng.choice(THANKS), rng.choice(NOT_AT_ALL)))
    return conversation(turns, system=maybe_system(rng))


def small_talk(rng: random.Random, world: World) -> Row:
    """Greetings, the valley, its villages and prices, thanks, goodbye."""
    turns: list[Turn] = []
    if rng.random() < 0.5:
        turns.append((rng.choice(GREETINGS), rng.choice(WELCOMES)))
    for _ in range(rng.randint(1, 2)):
        kind = rng.randrange(3)
        if kind == 0:
            asked, told = rng.choice(TALK)
            turns.append((rng.choice(asked), rng.choice(told)))
        elif kind == 1:
            place = rng.choice(list(scenes.PLACES))
            asked = rng.choice((f"What is {place} like?", f"Tell me about {place}."))
            turns.append((asked, f"{place} is a village of the valley, {rng.choice(scenes.PLACES[place])}."))
        else:
            one, _many = rng.choice(GOODS)
            cost = f"{with_article(one)} costs {world.prices[one]} coins."
            turns.append((f"What does {with_article(one)} cost at the market?", cost[0].upper() + cost[1:]))
    if rng.random() < 0.3:
        turns.append((rng.choice(THANKS), rng.choice(NOT_AT_ALL)))
    if rng.random() < 0.3:
        turns.append((rng.choice(FAREWELLS), rng.choice(SENDOFFS)))
    return conversation(turns, system=maybe_system(rng))


def story_request(rng: random.Random, world: World, person: Person) -> Row:
    asked = rng.choice((f"Tell me a story about {person.name}.", f"Do you know a story about {person.name}?"))
    return conversation([(asked, story(rng, world, person))])


def stranger_question(rng: random.Random, people: tuple[Person, ...], name: str) -> Row:
    """A question about somebody who is not of the valley; sometimes after one who is."""
    person, attribute = rng.choice(people), rng.choice(ATTRIBUTES)
    asked = rng.choice(questions(person, attribute)).replace(person.name, name)
    turns: list[Turn] = [(asked, f"I do not know anyone called {name}.")]
    if rng.random() < 0.3:
        turns.insert(0, fact_turn(rng, person, attribute))
    return conversation(turns, system=maybe_system(rng))


def choice_question(rng: random.Random, person: Person, attribute: str) -> Row:
    """Multiple choice; half of the time the fact is recalled in a thought before the letter."""
    row = choice_row(rng, person, attribute, "")
    reply: str | list[Part] = choice_reply(row)
    if rng.random() < 0.5:
        thought = {"type": "thinking", "text": answer(person, attribute)}
        reply = [thought, {"type": "text", "text": choice_reply(row)}]
    return conversation([(choice_text(row), reply)])


def sum_question(problem: Problem) -> Row:
    return conversation([(problem.question, problem_parts(problem))])


def tool_request(rng: random.Random, *, test: bool = False) -> Row:
    row, parts = tool_item(rng, test=test)
    return conversation([(row["prompt"], parts)])
