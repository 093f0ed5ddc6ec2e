"""Everything the built-in world says is true: sums, problems, prices, facts and keys."""

import re
from collections import Counter

from picochat.data.builtin import write
from picochat.data.builtin.telling import all_tellings, follow_ups
from picochat.data.builtin.world import ATTRIBUTES, GOODS, World
from picochat.data.builtin.write import WorldFiles
from picochat.tools.expression import calculate
from tests.data.builtin.reading import NAMES, THINGS, numbers, read_rows, words

MORE = ("finds", "buys", "gets", "puts in", "drops in", "picks up", "is given")
FEWER = ("gives away", "loses", "sells", "takes out", "picks out", "drops", "hands")


def reckon(question: str, level: str, prices: dict[str, int]) -> int:
    """The answer from the words of the question alone: an oracle that knows nothing of the generator."""
    n = numbers(question)
    if level in ("one-step", "two-step", "many-step"):
        total = n[0]
        for clause in question.split(". ")[1:-1]:
            grows = any(f" {verb} " in clause for verb in MORE)
            assert grows != any(re.search(rf" {verb} \d", clause) for verb in FEWER), clause
            total += numbers(clause)[0] * (1 if grows else -1)
        return total
    if level == "times":
        return n[0] * n[1]
    if level == "remainder":
        return n[0] % n[1] if "left over" in question else n[0] // n[1]
    if level == "compare":
        return sum(n) if "together" in question or " more than " in question else abs(n[0] - n[1])
    assert level == "price"
    bought = re.findall(r"(\d+) (\w+)", question)
    purse = sum(int(number) for number, thing in bought if thing == "coins")
    cost = sum(int(number) * prices[THINGS[thing]] for number, thing in bought if thing != "coins")
    return purse - cost if "left" in question else cost


def test_answers_of_problems_are_right(files: WorldFiles, world: World) -> None:
    prices = {many: world.prices[one] for one, many in GOODS}
    levels = Counter()
    for split in ("train", "test"):
        for row in read_rows(files.jsonl("gsm8k", split)):
            levels[row["level"]] += 1
            right = str(reckon(row["question"], row["level"], prices))
            notes = re.findall(r"<<([^=]*)=(\d+)>>(\d+)", row["answer"])
            assert notes
            assert all(calculate(expression) == value == shown for expression, value, shown in notes)
            assert row["answer"].endswith(f"\n#### {right}")
            assert notes[-1][1] == right
    assert set(levels) == set(write.LEVELS)


def test_worked_sums_of_the_pretraining_text_are_right(documents: list[str]) -> None:
    sums = re.findall(r"(?<![\w/%*+-])(\d+(?: ?(?:\+|-|\*|//|%) ?\d+)+) = (\d+)", "\n\n".join(documents))
    assert len(sums) > 2000
    assert all(calculate(expression) == value for expression, value in sums)


def test_prices_are_told(world: World, documents: list[str]) -> None:
    whole = "\n".join(documents)
    for one, _ in GOODS:
        assert whole.count(f" {one} costs {world.prices[one]} coins") >= 10
        told = set(re.findall(rf"\b{one} costs (\d+) coins", whole))
        assert told == {str(world.prices[one])}


def test_calculator_calls_of_the_chat_are_right(files: WorldFiles) -> None:
    calls = 0
    for split in ("train", "val", "test"):
        for row in read_rows(files.jsonl("chat", split)):
            for message in row["messages"]:
                parts = message["content"] if isinstance(message["content"], list) else []
                kinds = {part["type"]: part["text"] for part in parts}
                if "tool_call" in kinds:
                    calls += 1
                    assert list(kinds) == ["thinking", "tool_call", "tool_result", "text"]
                    assert calculate(kinds["tool_call"]) == kinds["tool_result"]
                    assert kinds["text"].endswith(f"\n#### {kinds['tool_result']}")
    assert calls > 300


def test_chat_facts_are_true_also_by_pronoun(files: WorldFiles, world: World) -> None:
    """A follow-up is answered about the person of the turns before."""
    truths = {t: p for p in world.people for a in ATTRIBUTES for t in all_tellings(p, a)[:1]}
    followed = 0
    for row in read_rows(files.jsonl("chat", "train")):
        person = None
        turns = [m["content"] for m in row["messages"] if m["role"] != "system"]
        for asked, told in zip(turns[::2], turns[1::2], strict=True):
            if asked.startswith("And "):
                assert person is not None
                assert told in truths
                assert truths[told] is person
                assert any(asked in follow_ups(person, attribute) for attribute in ATTRIBUTES)
                followed += 1
            elif isinstance(told, str):
                person = truths.get(told, person)
    assert followed > 50


def test_arc_keys_are_true(files: WorldFiles, world: World) -> None:
    people = {person.name: person for person in world.people}
    keys = Counter()
    for split in ("train", "test"):
        for row in read_rows(files.jsonl("arc", split)):
            (name,) = words(row["question"]["stem"]) & NAMES
            choices = {choice["label"]: choice["text"] for choice in row["question"]["choices"]}
            true = [label for label, text in choices.items() if text in people[name].facts.values()]
            assert true == [row["answerKey"]]
            assert people[name].held_out == (split == "test")
            keys[row["answerKey"]] += 1
    assert max(keys.values()) < 0.4 * keys.total()
