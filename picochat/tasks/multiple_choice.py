"""Multiple-choice problems as a conversation: what ARC and MMLU share."""

from collections.abc import Sequence

from picochat.errors import UserError
from picochat.tasks.answers import chosen_letter
from picochat.tasks.task import Problem, Task, assistant_turn, user_turn

LETTERS = "ABCDE"
MIN_CHOICES = 3


def choice_prompt(stem: str, choices: Sequence[str]) -> str:
    """Return the question as it is shown: the stem, then a line "A. text" for each choice."""
    return "\n".join([stem, *(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False))])


def choice_solution(letter: str) -> str:
    return f"The answer is {letter}."


def choice_problem(
    *, id: str, task: str, stem: str, choices: Sequence[object], right: int, level: str, where: str
) -> Problem:
    """Return the problem whose right choice is `choices[right]`; raises `UserError` for bad choices."""
    if not MIN_CHOICES <= len(choices) <= len(LETTERS):
        raise UserError(f"{where}: {len(choices)} choices; there have to be {MIN_CHOICES} to {len(LETTERS)}")
    texts = tuple(choice for choice in choices if isinstance(choice, str) and choice.strip())
    if len(texts) < len(choices):
        raise UserError(f"{where}: each choice has to be a text that is not empty")
    return Problem(
        id=id,
        task=task,
        messages=(user_turn(choice_prompt(stem, texts)),),
        solution=assistant_turn(choice_solution(LETTERS[right])),
        answer=LETTERS[right],
        choices=texts,
        level=level,
    )


class MultipleChoice(Task):
    """Right if the letter that the text chooses last is the right one (see `answers.chosen_letter`)."""

    def extract(self, problem: Problem, text: str) -> str | None:
        letter = chosen_letter(text)
        return letter if letter is not None and letter in LETTERS[: len(problem.choices)] else None
