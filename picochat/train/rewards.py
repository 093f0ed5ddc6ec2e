"""What an answer is rewarded for: named functions of a problem and a completion.

They look at what the engine made of the tokens (its segments, its tool results, its end), never at tags
spelled in text: whatever a text says, it is text.
"""

import importlib
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from picochat.engine.events import Completion
from picochat.errors import UserError
from picochat.tasks.answers import marked_text, normalize_number
from picochat.tasks.registry import TASKS
from picochat.tasks.task import Problem
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tools.expression import ERROR_PREFIX
from picochat.train.options import GrpoOptions

RewardFunction = Callable[[Problem, Completion], float]

WORKED_TASKS = ("gsm8k", "tools")
"""Tasks whose answer is worked out first: it has to be thought about, and to end in a line `#### x`."""


@dataclass(frozen=True, kw_only=True)
class Reward:
    """A function and what it counts for."""

    function: RewardFunction
    weight: float


def accuracy(problem: Problem, completion: Completion) -> float:
    """Return 1 for a right answer in the visible text, as the task judges it, else 0."""
    return float(TASKS[problem.task].is_correct(problem, completion.text))


def format(problem: Problem, completion: Completion, *, special: Mapping[str, int]) -> float:
    """Return 1 for an answer that is built as it should be, else 0.

    It ends by itself. It has at most one thinking block, which comes first, has text in it and was closed by
    the model; every tool call is closed. Behind it stands visible text. A worked task (`WORKED_TASKS`) needs
    the thinking block and exactly one `####`, at the beginning of the last line and with an answer behind it.
    """
    ids = completion.ids
    count = {name: ids.count(special[name]) for name in ("<|think_start|>", "<|think_end|>")}
    num_calls = {ids.count(special["<|tool_call_start|>"]), ids.count(special["<|tool_call_end|>"])}
    has_tags_in_pairs = count["<|think_start|>"] == count["<|think_end|>"] and len(num_calls) == 1
    text = completion.text.strip()
    if completion.finish_reason != "stop" or not has_tags_in_pairs or not text:
        return 0.0
    is_worked = problem.task in WORKED_TASKS
    if count["<|think_start|>"] == 0:
        return float(not is_worked)
    end = ids.index(special["<|think_end|>"])
    is_closed_by_model = not completion.tokens[end].forced
    if count["<|think_start|>"] > 1 or ids[0] != special["<|think_start|>"] or not is_closed_by_model:
        return 0.0
    if not completion.thinking.strip():
        return 0.0
    last_line = text.splitlines()[-1]
    ends_marked = last_line.startswith("####") and marked_text(last_line) is not None
    return float(not is_worked or (ends_marked and text.count("####") == 1))


def tool(problem: Problem, completion: Completion) -> float:
    """Return 0.5 for a calculator that was used where the problem requires it, 1 with a right answer.

    Used means: it worked out something (a number alone is nothing to work out), no call failed, and none was
    made twice. More calls earn no more.
    """
    calls, results = completion.tool_calls, completion.tool_results
    if not problem.requires_tool or not calls or len(calls) != len(results):
        return 0.0
    if len(set(calls)) < len(calls) or any(result.startswith(ERROR_PREFIX) for result in results):
        return 0.0
    if all(normalize_number(call) is not None for call in calls):
        return 0.0
    return 1.0 if accuracy(problem, completion) else 0.5


def length(problem: Problem, completion: Completion, *, target: int) -> float:
    """Return by how much the answer is over `target` tokens, as a share of it: 0 to 1. To be weighed
    negatively."""
    return min(1.0, max(0.0, (completion.num_tokens - target) / target))


def build_rewards(options: GrpoOptions, tokenizer: Tokenizer) -> dict[str, Reward]:
    """Return the rewards by name: the built-in ones that count for something, then the user's."""
    built_in = {
        "accuracy": Reward(function=accuracy, weight=options.accuracy_weight),
        "format": Reward(function=partial(format, special=tokenizer.special), weight=options.format_weight),
        "tool": Reward(function=tool, weight=options.tool_weight),
        "length": Reward(
            function=partial(length, target=options.length_target), weight=-options.length_weight
        ),
    }
    own = {spec: load_reward(spec) for spec in options.reward}
    return {name: reward for name, reward in built_in.items() if reward.weight} | own


def load_reward(spec: str) -> Reward:
    """Return the reward that `module:function` or `module:function:weight` names.

    The module is imported: from the current folder, or installed. The function is called with a `Problem`
    (picochat.tasks.task) and a `Completion` (picochat.engine.events) and returns a number.
    """
    module_name, _, rest = spec.partition(":")
    function_name, _, weight_text = rest.partition(":")
    try:
        weight = float(weight_text or 1)
    except ValueError:
        weight = math.nan
    if not module_name or not function_name or not math.isfinite(weight):
        raise UserError(f"--reward {spec}: write it as module:function or module:function:weight")
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(f"--reward {spec}: {error}; is it in this folder?") from error
    finally:
        sys.path.remove(folder)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(f"--reward {spec}: {module.__file__} has no function {function_name}")

    def checked(problem: Problem, completion: Completion) -> float:
        value = function(problem, completion)
        # A truth value is a number here.
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"--reward {spec}: returned {value!r} for {problem.id}; it has to be a number")
        return float(value)

    return Reward(function=checked, weight=weight)
