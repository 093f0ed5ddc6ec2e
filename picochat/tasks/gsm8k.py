"""GSM8K: grade-school word problems with worked answers (arXiv 2110.14168).

Row: {"question", "answer"}; the answer ends in "#### 62" and notes its sums as `44+18 = <<44+18=62>>62`.
"""

import re
from typing import Any

from picochat.errors import UserError
from picochat.tasks.answers import last_number, marked_number, normalize_number, visible_text
from picochat.tasks.task import Problem, Task, row_id, row_level, text_field, user_turn
from picochat.tokenizer.conversation import Message, Part
from picochat.tools.expression import ERROR_PREFIX, calculate

_SUM = re.compile(r"<<([^<>]*)>>")


class Gsm8k(Task):
    """Right if the number after the last `####` of the visible text is the row's.

    lenient: without a `####`, take the last number of the text; for models that never learnt the format.
    """

    name = "gsm8k"

    def __init__(self, *, lenient: bool = False) -> None:
        self.lenient = lenient

    def parse(self, row: dict[str, Any], *, where: str) -> Problem:
        question = text_field(row, "question", where=where)
        solution = text_field(row, "answer", where=where)
        _, marker, final = solution.rpartition("####")
        answer = normalize_number(final)
        if not marker or answer is None:
            raise UserError(f"{where}: field 'answer' has to end in '#### ' and a number")
        return Problem(
            id=row_id(row, where),
            task=self.name,
            messages=(user_turn(question),),
            solution=worked_solution(solution),
            answer=answer,
            level=row_level(row),
        )

    def extract(self, problem: Problem, text: str) -> str | None:
        if self.lenient and "####" not in visible_text(text):
            return last_number(visible_text(text))
        return marked_number(text)


def worked_solution(text: str) -> Message:
    """Return a GSM8K answer as an assistant's turn in which each `<<sum=value>>` is a call of the calculator.

    The result is what the calculator says, not what is noted: the model meets the same when it calls it. A
    note the calculator can not work out (`<<20%*50=10>>`) is left out; the text around it stays.
    """
    parts: list[Part] = []
    position = 0
    plain = ""
    for match in _SUM.finditer(text):
        plain += text[position : match.start()]
        position = match.end()
        expression = match[1].rpartition("=")[0].strip()
        result = calculate(expression)
        if not result.startswith(ERROR_PREFIX):
            parts += [Part(type="text", text=plain)] if plain else []
            parts += [Part(type="tool_call", text=expression), Part(type="tool_result", text=result)]
            plain = ""
    parts.append(Part(type="text", text=plain + text[position:]))
    return Message(role="assistant", parts=tuple(parts))
