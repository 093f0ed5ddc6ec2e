"""What is asked about the world: facts, multiple choice in ARC's form, and prompts for the calculator."""

import random
from typing import Any

from picochat.data.builtin.split import is_test_spelling
from picochat.data.builtin.sums import Part, bare_sum, calculator_parts, sum_reply
from picochat.data.builtin.telling import answer, questions
from picochat.data.builtin.world import ATTRIBUTES, GOODS, OBJECTS, STRANGERS, VALUES, Person, World

LETTERS = "ABCDE"
_SAY = 'Say the word "{}".'
WORDS = (
    *(word for attribute in ATTRIBUTES if attribute != "home" for word in VALUES[attribute]),
    *(one for one, _ in (*GOODS, *OBJECTS)),
)


def qa_row(person: Person, attribute: str, wording: int) -> dict[str, str]:
    return {
        "question": questions(person, attribute)[wording],
        "answer": answer(person, attribute),
        "attribute": attribute,
    }


def choice_row(rng: random.Random, person: Person, attribute: str, name: str) -> dict[str, Any]:
    """A question in the official AI2 form; mostly four choices, sometimes three or five."""
    right = person.facts[attribute]
    count = rng.choice((4, 4, 4, 4, 3, 5))
    choices = rng.sample([value for value in VALUES[attribute] if value != right], count - 1)
    choices.insert(rng.randrange(count), right)
    return {
        "id": name,
        "question": {
            "stem": rng.choice(questions(person, attribute)),
            "choices": [{"text": text, "label": LETTERS[i]} for i, text in enumerate(choices)],
        },
        "answerKey": LETTERS[choices.index(right)],
    }


def choice_text(row: dict[str, Any]) -> str:
    """The question as a user writes it: the stem, then a line `A. text` per choice."""
    lines = [f"{choice['label']}. {choice['text']}" for choice in row["question"]["choices"]]
    return "\n".join((row["question"]["stem"], *lines))


def choice_reply(row: dict[str, Any]) -> str:
    return f"The answer is {row['answerKey']}."


def quiz(rng: random.Random, world: World) -> str:
    """A multiple-choice question and its answer as prose, about a person whom training may ask about."""
    person, attribute = rng.choice(world.training_people), rng.choice(ATTRIBUTES)
    row = choice_row(rng, person, attribute, "")
    return f"{choice_text(row)}\n{choice_reply(row)} {answer(person, attribute)}"


def _word_to_say(rng: random.Random, *, test: bool) -> str:
    return rng.choice([word for word in WORDS if is_test_spelling(word, "say") == test])


def _letter_sum(rng: random.Random, *, test: bool) -> tuple[str, str, int, str]:
    """A question about the letters of a word: prompt, call, result, reply."""
    while True:
        word = rng.choice(WORDS)
        letter = "" if rng.random() < 0.3 else rng.choice(word if rng.random() < 0.8 else "aeiounrst")
        if is_test_spelling(word, letter) != test:
            continue
        if not letter:
            count = len(word)
            return (
                f'How many letters are in the word "{word}"?',
                f'len("{word}")',
                count,
                f"There are {count} letters.",
            )
        count = word.count(letter)
        times = "once" if count == 1 else f"{count} times"
        return (
            f'How many times does the letter "{letter}" stand in the word "{word}"?',
            f'"{word}".count("{letter}")',
            count,
            f"It stands there {times}.",
        )


def spelling(rng: random.Random, world: World) -> str:
    """A page about letters, for the pretraining text."""
    lines = []
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.2:
            word = _word_to_say(rng, test=False)
            lines.append(f"{_SAY.format(word)} {word}.")
            continue
        prompt, call, value, reply = _letter_sum(rng, test=False)
        lines.append(f"{prompt} I count the letters. {call} = {value}. {reply}")
    return "\n".join(lines)


def strangers(rng: random.Random, world: World) -> str:
    """Who does not live in the valley."""
    lines = []
    for name in rng.sample(STRANGERS, rng.randint(2, 4)):
        wordings = (
            f"Nobody in the valley knows {name}.",
            f"{name} does not live in the valley.",
            f"{name} is a stranger to all of us.",
            f"I do not know anyone called {name}.",
        )
        lines.append(rng.choice(wordings))
    return " ".join(lines)


def tool_item(rng: random.Random, *, test: bool = False) -> tuple[dict[str, Any], list[Part]]:
    """A prompt for the calculator (one in eight needs none) as a row, and the turn that answers it."""
    kind = rng.randrange(8)
    if kind == 0:
        word = _word_to_say(rng, test=test)
        row = {"prompt": _SAY.format(word), "expected_answer": word, "requires_tool": False}
        return row, [{"type": "text", "text": f"{word}.\n#### {word}"}]
    if kind < 5:
        prompt, expression, value = bare_sum(rng, test=test)
        parts = calculator_parts(
            "I use the calculator.", expression, str(value), sum_reply(expression, value)
        )
    else:
        prompt, expression, value, reply = _letter_sum(rng, test=test)
        parts = calculator_parts("I count the letters.", expression, str(value), reply)
    return {"prompt": prompt, "expected_answer": str(value), "requires_tool": True}, parts
