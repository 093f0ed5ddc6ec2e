"""Tool scenarios: prompts that the calculator answers.

Row: {"prompt", "expected_answer" (text, number or truth value), "requires_tool" (default false)}.
"""

from typing import Any

from picochat.errors import UserError
from picochat.tasks.answers import first_number, marked_text, normalize_number, plain_answer
from picochat.tasks.task import Problem, Task, assistant_turn, field, row_id, row_level, text_field, user_turn


class ToolUse(Task):
    """Right if the line after the last `####` of the visible text is the expected answer.

    A number may have words around it and is compared as a number; any other answer must be the whole line,
    letter by letter, since upper and lower case may be what was asked for.
    """

    name = "tools"

    def parse(self, row: dict[str, Any], *, where: str) -> Problem:
        expected = field(row, "expected_answer", where=where)
        if isinstance(expected, bool):
            expected = "true" if expected else "false"  # as the calculator writes them
        elif isinstance(expected, int | float):
            expected = str(expected)
        if not isinstance(expected, str) or not plain_answer(expected):
            raise UserError(f"{where}: field 'expected_answer' has to be a text or a number")
        requires_tool = row.get("requires_tool", False)
        if not isinstance(requires_tool, bool):
            raise UserError(f"{where}: field 'requires_tool' has to be true or false")
        return Problem(
            id=row_id(row, where),
            task=self.name,
            messages=(user_turn(text_field(row, "prompt", where=where)),),
            solution=assistant_turn(f"#### {expected}"),
            answer=normalize_number(expected) or plain_answer(expected),
            requires_tool=requires_tool,
            level=row_level(row),
        )

    def extract(self, problem: Problem, text: str) -> str | None:
        answer = marked_text(text)
        if answer is None:
            return None
        if normalize_number(problem.answer) is not None:
            return first_number(answer)
        return plain_answer(answer)
