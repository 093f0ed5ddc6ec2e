"""What answers earn, honest and hostile ones; every completion went through the engine's state machine."""

import math
from dataclasses import replace
from functools import partial

import pytest

from picochat.errors import UserError
from picochat.tasks.task import Problem, assistant_turn, user_turn
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train import rewards
from picochat.train.options import GrpoOptions
from picochat.train.rewards import build_rewards, load_reward

THINK, END_THINK = "<|think_start|>", "<|think_end|>"
CALL, END_CALL = "<|tool_call_start|>", "<|tool_call_end|>"
END = "<|assistant_end|>"


def problem(task: str = "gsm8k", answer: str = "7", **more) -> Problem:
    return Problem(
        id="p", task=task, messages=(user_turn("?"),), solution=assistant_turn(answer), answer=answer, **more
    )


@pytest.fixture
def format_of(tokenizer: Tokenizer):
    return partial(rewards.format, special=tokenizer.special)


@pytest.mark.parametrize(
    ("said", "earned"),
    [
        ([THINK, "I add.", END_THINK, "so\n#### 7", END], 1),
        ([THINK, "I add.", CALL, "3+4", END_CALL, END_THINK, "#### 7", END], 1),
        ([THINK, "I add.", END_THINK, CALL, "3+4", END_CALL, "#### 7", END], 1),
        (["#### 7", END], 0),  # no thought
        ([THINK, "I add.", END_THINK, "7", END], 0),  # no mark
        ([THINK, "I add.", END_THINK, "####", END], 0),  # nothing behind the mark
        ([THINK, "I add.", END_THINK, "so #### 7", END], 0),  # not a line of its own
        ([THINK, "I add.", END_THINK, "#### 7\nor so", END], 0),  # not the last line
        ([THINK, "I add.", END_THINK, "#### 6\n#### 7", END], 0),  # two answers
        ([THINK, "I add.", END_THINK, "#### 7"], 0),  # never ends
        ([THINK, "I add.\n#### 7", END], 0),  # the thought is never closed
        ([THINK, END_THINK, "#### 7", END], 0),  # an empty thought
        ([THINK, "  \n", END_THINK, "#### 7", END], 0),
        ([THINK, "a", END_THINK, THINK, "b", END_THINK, "#### 7", END], 0),  # two blocks
        ([THINK, "a", THINK, "b", END_THINK, "#### 7", END], 0),
        ([THINK, "a", END_THINK, END_THINK, "#### 7", END], 0),
        (["#### 7", THINK, "a", END_THINK, END], 0),  # thinks when all is said
        (["so", THINK, "a", END_THINK, "#### 7", END], 0),
        ([END_THINK, "a", THINK, "#### 7", END], 0),  # equal counts in the wrong order
        ([THINK, "a", END_THINK, "#### 7", CALL, "1", END], 0),  # a call left open
        ([THINK, "a", END_THINK, END_CALL, "#### 7", END], 0),  # a closing tag by itself
        (["<|think_start|>a<|think_end|>#### 7", END], 0),  # a control token, but behind it
        (["<think_start>a<think_end>#### 7", END], 0),  # tags as text
        (["<|think", "_start|>a<|think", "_end|>\n#### 7", END], 0),
        ([THINK, "a", END_THINK, END], 0),
        ([END], 0),
    ],
)
def test_format_of_a_worked_answer(said, earned, format_of, complete):
    assert format_of(problem(), complete(*said)) == earned


@pytest.mark.parametrize(
    ("said", "earned"),
    [
        (["Ben lives in Fernley.", END], 1),
        ([THINK, "hm", END_THINK, "Fernley", END], 1),
        (["Fernley"], 0),
        ([END], 0),
        ([THINK, "Fernley", END], 0),
        ([THINK, "a", END_THINK, THINK, "b", END_THINK, "Fernley", END], 0),
        (["Fernley", END_THINK, END], 0),
    ],
)
def test_format_of_a_short_answer(said, earned, format_of, complete):
    assert format_of(problem("qa", "fernley"), complete(*said)) == earned


def test_a_thought_that_had_to_be_ended_is_not_well_formed(format_of, complete):
    said = [THINK, "I add and add.", "#### 7", END]
    cut = complete(*said, thinking_budget=3)
    assert END_THINK not in said
    assert cut.text.endswith("#### 7")
    assert format_of(problem(), cut) == 0


@pytest.mark.parametrize(
    ("said", "earned"),
    [
        (["#### 7", END], 1),
        (["#### 7.0 pens", END], 1),
        ([THINK, "#### 7", END_THINK, "#### 8", END], 0),  # only what is visible counts
        ([THINK, "#### 7", END_THINK, END], 0),
        ([CALL, "3+4", END_CALL, END], 0),
        (["#### 6\n#### 7", END], 1),  # the last one counts; such an answer earns nothing for its form
        (["#### 6 7 8", END], 0),
        (["7", END], 0),
    ],
)
def test_accuracy_is_the_tasks_own_judgement(said, earned, complete):
    assert rewards.accuracy(problem(), complete(*said)) == earned


NEEDS_TOOL = problem("tools", requires_tool=True)


@pytest.mark.parametrize(
    ("said", "earned"),
    [
        ([CALL, "3+4", END_CALL, "#### 7", END], 1),
        ([CALL, "3+4", END_CALL, "#### 8", END], 0.5),
        ([CALL, "3+3", END_CALL, CALL, "6+1", END_CALL, "#### 7", END], 1),
        (["#### 7", END], 0),
        ([CALL, "3+", END_CALL, "#### 7", END], 0),  # failed
        ([CALL, "3+4", END_CALL, CALL, "boom(", END_CALL, "#### 7", END], 0),
        ([CALL, "3+4", END_CALL, CALL, "3+4", END_CALL, "#### 7", END], 0),  # the same again
        ([CALL, "7", END_CALL, "#### 7", END], 0),  # nothing worked out
        ([CALL, "1", END_CALL, CALL, "2", END_CALL, "#### 7", END], 0),
        ([CALL, "", END_CALL, "#### 7", END], 0),
        ([CALL, "3+4", "#### 7", END], 0),  # never closed
        ([CALL, "3+4", END_CALL, CALL, "5", "#### 7", END], 0),
        ([END_CALL, "#### 7", END], 0),
        ([END_CALL, "3+4", CALL, "#### 7", END], 0),  # both tags, in the wrong order
        (["<|tool_call", "_start|>3+4<|tool_call", "_end|> #### 7", END], 0),
        (["<tool_call_start>3+4<tool_call_end> #### 7", END], 0),
    ],
)
def test_use_of_the_tool(said, earned, complete):
    completion = complete(*said)
    assert rewards.tool(NEEDS_TOOL, completion) == earned
    assert rewards.tool(replace(NEEDS_TOOL, requires_tool=False), completion) == 0


def test_calling_more_often_never_earns_more(complete):
    calls = [part for i in range(20) for part in (CALL, f"{i}+1", END_CALL)]
    assert rewards.tool(NEEDS_TOOL, complete(*calls, "#### 7", END)) <= 1
    assert rewards.tool(NEEDS_TOOL, complete(*calls, "#### 8", END)) <= 0.5


@pytest.mark.parametrize(
    ("num_tokens", "over"), [(0, 0), (9, 0), (10, 0), (11, 0.1), (15, 0.5), (20, 1), (5000, 1)]
)
def test_length_is_bounded(num_tokens, over, complete):
    completion = replace(complete("a", END), num_tokens=num_tokens)
    assert rewards.length(problem(), completion, target=10) == pytest.approx(over)


def test_weights(tokenizer, complete):
    completion = replace(complete(CALL, "3+4", END_CALL, THINK, "a", END_THINK, "#### 7", END), num_tokens=90)
    options = GrpoOptions(tool_weight=0.5, target_length=60)
    parts = build_rewards(options, tokenizer)
    said = {name: reward.function(NEEDS_TOOL, completion) for name, reward in parts.items()}
    assert said == {"accuracy": 1, "format": 0, "tool": 1, "length": 0.5}
    assert sum(parts[name].weight * value for name, value in said.items()) == 1 + 0.5 - 0.05
    off = GrpoOptions(accuracy_weight=2, format_weight=0, tool_weight=0, length_weight=0)
    assert {name: reward.weight for name, reward in build_rewards(off, tokenizer).items()} == {"accuracy": 2}
    assert GrpoOptions(max_tokens=50).length_target == 25


OWN = """
def exclaims(problem, completion):
    return completion.text.count("!") / len(problem.answer)
def broken(problem, completion):
    return float("nan")
def silent(problem, completion):
    pass
number = 3
"""


@pytest.fixture
def own_rewards(tmp_path, monkeypatch):
    (tmp_path / "own_rewards.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def test_a_reward_of_ones_own(own_rewards, complete):
    reward = load_reward("own_rewards:exclaims:0.25")
    assert reward.weight == 0.25
    assert reward.function(problem(answer="77"), complete("a! b! c!", END)) == 1.5
    assert load_reward("own_rewards:exclaims").weight == 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("own_rewards", ["module:function"]),
        (":f", ["module:function"]),
        ("own_rewards:exclaims:much", ["module:function:weight"]),
        ("own_rewards:exclaims:nan", ["module:function:weight"]),
        ("no_such_module:f", ["no_such_module", "folder"]),
        ("own_rewards:shouts", ["own_rewards.py", "shouts"]),
        ("own_rewards:number", ["own_rewards.py", "number"]),
    ],
)
def test_mistakes_about_rewards(spec, words, own_rewards):
    with pytest.raises(UserError) as error:
        load_reward(spec)
    assert all(word in str(error.value) for word in [spec, *words])


@pytest.mark.parametrize("name", ["broken", "silent"])
def test_a_reward_has_to_be_a_number(name, own_rewards, complete):
    with pytest.raises(UserError, match=f"own_rewards:{name}: returned .* for p"):
        load_reward(f"own_rewards:{name}").function(problem(), complete("a", END))


def test_no_built_in_reward_is_ever_out_of_bounds(tokenizer, complete):
    """Whatever a model says: -0.1 is the least, 1.5 the most."""
    parts = build_rewards(GrpoOptions(), tokenizer)
    tags = [THINK, END_THINK, CALL, END_CALL, "#### 7", "3+4", "\n", END]
    for i in range(300):
        said = [tags[(i * 7 + j * j * 3 + i * j) % len(tags)] for j in range(i % 9)]
        completion = complete(*said)
        total = math.fsum(
            reward.weight * reward.function(NEEDS_TOOL, completion) for reward in parts.values()
        )
        assert -0.1 <= total <= 1.5
