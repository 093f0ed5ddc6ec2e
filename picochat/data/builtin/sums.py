"""A problem written out: as prose, as a GSM8K row, as a turn that calls the calculator; and bare sums."""

import random

from picochat.data.builtin.arithmetic import Problem
from picochat.data.builtin.split import is_test_pair
from picochat.data.builtin.world import World

Part = dict[str, str]

_SPOKEN = {
    "+": ("What is {a} + {b}?", "How much is {a} plus {b}?"),
    "-": ("What is {a} - {b}?", "How much is {a} minus {b}?"),
    "*": ("What is {a} * {b}?", "How much is {a} times {b}?"),
}


def _spaced(expression: str) -> str:
    for operator in ("+", "-", "*", "//", "%"):
        expression = expression.replace(operator, f" {operator} ")
    return expression


def worked_prose(rng: random.Random, problem: Problem) -> str:
    """The problem and how it is solved, in one of several ways; for the pretraining text."""
    whole = f"{problem.expression} = {problem.result}"
    style = rng.randrange(4)
    if style == 0:
        # The same order as in a conversation: plan, call, result, reply.
        lines = (problem.question, problem.plan, problem.expression, str(problem.result), problem.reply)
        return "\n".join((*lines, f"#### {problem.result}"))
    if style == 1:
        steps = " ".join(f"{_spaced(step.expression)} = {step.value}." for step in problem.steps)
        return f"{problem.question} {problem.plan} {steps} {problem.reply}"
    if style == 2:
        return f"{problem.question}\n{problem.plan} The sum is {whole}.\n{problem.reply}"
    return (
        f"{problem.question} {problem.plan} {_spaced(problem.expression)} = {problem.result}. {problem.reply}"
    )


def gsm8k_answer(problem: Problem) -> str:
    """The worked answer in the style of GSM8K: `44+18 = <<44+18=62>>62 shells.`, at the end `#### 62`."""
    steps = []
    for step in problem.steps:
        # "1 shells" would be wrong; the reply names the thing anyway.
        unit = "" if step.value == 1 else f" {step.unit}"
        steps.append(f"{step.expression} = <<{step.expression}={step.value}>>{step.value}{unit}.")
    return "\n".join((problem.plan, *steps, problem.reply, f"#### {problem.result}"))


def gsm8k_row(problem: Problem) -> dict[str, str]:
    return {"question": problem.question, "answer": gsm8k_answer(problem), "level": problem.level}


def calculator_parts(plan: str, expression: str, result: str, reply: str) -> list[Part]:
    """An assistant's turn that thinks, calls, reads the result, and answers."""
    return [
        {"type": "thinking", "text": plan},
        {"type": "tool_call", "text": expression},
        {"type": "tool_result", "text": result},
        {"type": "text", "text": f"{reply}\n#### {result}"},
    ]


def problem_parts(problem: Problem) -> list[Part]:
    return calculator_parts(problem.plan, problem.expression, str(problem.result), problem.reply)


def bare_sum(rng: random.Random, *, test: bool = False) -> tuple[str, str, int]:
    """A question without a story, its calculator call and its result."""
    while True:
        operator = rng.choice("+-*")
        top = 12 if operator == "*" else 99
        a, b = rng.randint(2, top), rng.randint(2, top)
        if is_test_pair(a, b) == test and not (operator == "-" and a < b):
            value = {"+": a + b, "-": a - b, "*": a * b}[operator]
            return rng.choice(_SPOKEN[operator]).format(a=a, b=b), f"{a}{operator}{b}", value


def sum_reply(expression: str, value: int) -> str:
    return f"{_spaced(expression)} = {value}."


def drill(rng: random.Random, world: World) -> str:
    """A page of bare sums, and now and then what the signs of division say."""
    lines = []
    for _ in range(rng.randint(2, 5)):
        question, expression, value = bare_sum(rng)
        lines.append(rng.choice((f"{question} {sum_reply(expression, value)}", f"{expression} = {value}")))
    if rng.random() < 0.4:
        a, b = rng.randint(10, 99), rng.randint(3, 12)
        while is_test_pair(a, b):
            a, b = rng.randint(10, 99), rng.randint(3, 12)
        lines.append(f"The sign // counts the whole groups: {a}//{b} = {a // b}.")
        lines.append(f"The sign % gives what is left over: {a}%{b} = {a % b}.")
    return "\n".join(lines)
