"""A tiny policy that answers at random, problems for it, and completions with a given content."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from picochat.engine.events import Completion, Token
from picochat.engine.options import SamplingOptions
from picochat.engine.reasoning import AnswerState
from picochat.model.gpt import GPT
from picochat.tasks.registry import TASKS
from picochat.tasks.task import Problem
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import train_tokenizer
from picochat.train.checkpoint import save_checkpoint
from picochat.train.grpo import grpo
from picochat.train.run import Run
from tests.tiny_model import CONTEXT, VOCAB_SIZE, random_model

REWARDS = '''
def vowels(problem, completion):
    """Share of vowels: what a model that says anything differs in."""
    return sum(letter in "aeiou" for letter in completion.text) / 10

def nothing(problem, completion):
    return None
'''


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    text = "How many pens has Ann? I add. 12+34 are 46 now, the cat and the hat and the mat #### 7"
    return train_tokenizer([text] * 3, VOCAB_SIZE)


@pytest.fixture(scope="session")
def parent_model() -> GPT:
    """Two layers of random weights. Not to be changed."""
    return random_model(spread=0.06)


@pytest.fixture
def model(parent_model: GPT) -> GPT:
    """A copy of the policy, to be trained."""
    copy = GPT(parent_model.config)
    copy.load_state_dict(parent_model.state_dict())
    return copy


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory, parent_model: GPT, tokenizer: Tokenizer) -> Path:
    """The policy as a checkpoint."""
    path = tmp_path_factory.mktemp("parent") / "policy"
    save_checkpoint(path, model=parent_model, tokenizer=tokenizer)
    return path


@pytest.fixture(scope="session")
def problem_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("problems") / "train.jsonl"
    rows = [
        {"question": f"Ann has {i} pens and adds {i % 7}?", "answer": f"#### {i + i % 7}"} for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def problems(problem_file: Path) -> list[Problem]:
    return TASKS["gsm8k"].load(problem_file)


Complete = Callable[..., Completion]


@pytest.fixture(scope="session")
def complete(tokenizer: Tokenizer) -> Complete:
    """Return the completion of a model that says the given texts and control tokens.

    complete("<|think_start|>", "I add.", "<|think_end|>", "#### 7", "<|assistant_end|>"); a control token
    stands alone, anything else is ordinary text. What the engine adds by itself is added.
    """

    def complete(*said: str, max_tokens: int = 90, thinking_budget: int | None = None) -> Completion:
        options = SamplingOptions(seed=0, max_tokens=max_tokens, thinking_budget=thinking_budget)
        state = AnswerState(tokenizer, options, room=CONTEXT)
        state.begin([])
        for text in said:
            special = tokenizer.special.get(text)
            for id in tokenizer.encode(text) if special is None else [special]:
                if not state.finish_reason:
                    state.push(Token(id))
        if not state.finish_reason:
            state.cancel()
            return replace(state.completion, finish_reason="length")
        return state.completion

    return complete


Practise = Callable[..., Run]


@pytest.fixture
def practise(
    parent: Path,
    problem_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Practise]:
    """Return a GRPO run of the policy, not yet started, that is rewarded for vowels."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "vowel_rewards.py").write_text(REWARDS, encoding="utf-8")
    monkeypatch.chdir(folder)
    runs: list[Run] = []

    def practise(name: str = "a", **options: Any) -> Run:
        if not options.get("resume"):
            options = {
                "load": str(parent),
                "gsm8k": (str(problem_file),),
                "steps": 6,
                "prompts": 2,
                "group_size": 3,
                "max_tokens": 8,
                "dynamic_sampling": False,
                "kl_beta": 0.05,
                "lr": 3e-4,
                "warmup": 0,
                "eval_every": 0,
                "sample_every": 0,
                "save_every": 0,
                "device": "cpu",
                "dtype": "float32",
                **options,
            }
        options = {"reward": ("vowel_rewards:vowels",), **options}
        runs.append(grpo(run=name, runs_dir=str(folder / "runs"), **options))
        return runs[-1]

    yield practise
    for run in runs:
        run.close()
