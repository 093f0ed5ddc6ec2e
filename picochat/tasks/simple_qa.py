"""Simple questions whose answer is a word or a few. Row: {"question", "answer"}."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from picochat.data.bad_rows import BadRows, OnBadRow
from picochat.errors import UserError
from picochat.tasks.answers import normalize_words, visible_text
from picochat.tasks.task import Problem, Task, assistant_turn, row_id, row_level, text_field, user_turn

MAX_EXTRA_WORDS = 20
"""Words an answer may have beside the right one: a sentence, not a list of guesses."""


class SimpleQa(Task):
    """Right if the visible text names the right answer, and no other.

    The right answer has to appear as whole words (case, punctuation and articles left aside). So that a
    reward can not be had by naming every candidate, the text may have at most 20 words more than the answer,
    and must not name the answer of another question of the same file. It may repeat such a word from its own
    question, if that does not name the right answer too ("red or blue?").
    """

    name = "qa"

    def load(self, path: str | Path, *, on_bad_row: OnBadRow | BadRows = "stop") -> list[Problem]:
        problems = super().load(path, on_bad_row=on_bad_row)
        answers = frozenset(problem.answer for problem in problems)
        return [replace(problem, rivals=answers) for problem in problems]

    def parse(self, row: dict[str, Any], *, where: str) -> Problem:
        question = text_field(row, "question", where=where)
        answer = text_field(row, "answer", where=where)
        words = normalize_words(answer)
        if not words:
            raise UserError(f"{where}: field 'answer' has no word in it: {answer!r}")
        return Problem(
            id=row_id(row, where),
            task=self.name,
            messages=(user_turn(question),),
            solution=assistant_turn(answer),
            answer=" ".join(words),
            level=row_level(row),
        )

    def extract(self, problem: Problem, text: str) -> str | None:
        """Return the right answer if the text gives it, else the words of the text (None if it has none)."""
        words = normalize_words(visible_text(text))
        if not words:
            return None
        gold = tuple(problem.answer.split(" "))
        short = len(words) <= len(gold) + MAX_EXTRA_WORDS
        spans = _occurrences(gold, words)
        if spans and short and not _names_a_rival(problem, words, spans):
            return problem.answer
        return " ".join(words)


def _occurrences(sought: tuple[str, ...], words: tuple[str, ...]) -> list[range]:
    size = len(sought)
    return [range(i, i + size) for i in range(len(words) - size + 1) if words[i : i + size] == sought]


def _names_a_rival(problem: Problem, words: tuple[str, ...], gold_spans: list[range]) -> bool:
    asked = normalize_words(problem.question)
    # "Is it red or blue?" names its own answers: there, repeating the question is naming every candidate.
    may_repeat = not _occurrences(tuple(problem.answer.split(" ")), asked)
    for start in range(len(words)):
        for stop in range(start + 1, len(words) + 1):
            if " ".join(words[start:stop]) not in problem.rivals:
                continue
            inside_gold = any(span.start <= start and stop <= span.stop for span in gold_spans)
            if not inside_gold and not (may_repeat and _occurrences(words[start:stop], asked)):
                return True
    return False
