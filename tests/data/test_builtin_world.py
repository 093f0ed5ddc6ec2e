"""The built-in world: its test split is disjoint by construction, and here every file is read to prove it."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from picochat.data.builtin import write
from picochat.data.builtin.telling import all_tellings, follow_ups, questions
from picochat.data.builtin.world import ATTRIBUTES, GOODS, OBJECTS, STRANGERS, VALUES, World, make_world
from picochat.data.builtin.write import WorldFiles, default_world_dir, write_world
from picochat.errors import UserError
from picochat.tasks.arc import Arc
from picochat.tasks.gsm8k import Gsm8k
from picochat.tasks.simple_qa import SimpleQa
from picochat.tasks.tool_use import ToolUse
from picochat.tokenizer.conversation import parse_messages
from picochat.tools.expression import calculate

SEED, SCALE = 5, 0.25
# From scale 1 (about 400 tellings of a fact by name) in proportion, with a margin for chance.
MIN_TELLINGS = 50

THINGS = {form: many for one, many in (*OBJECTS, *GOODS) for form in (one, many)}
NAMES = {person.name for person in make_world(SEED).people}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> WorldFiles:
    return write_world(tmp_path_factory.mktemp("world"), seed=SEED, scale=SCALE)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SEED)


@pytest.fixture(scope="module")
def documents(files: WorldFiles) -> list[str]:
    return read_documents(files.pretrain_train)


@pytest.fixture(scope="module")
def training_texts(files: WorldFiles) -> list[str]:
    """Every document and every row that training may see, as plain text (JSON rows: all their strings)."""
    texts = read_documents(files.pretrain_train) + read_documents(files.pretrain_val)
    paths = [path for path in files.root.rglob("*.jsonl") if path.stem in ("train", "val")]
    assert len(paths) == 6
    for path in paths:
        texts += ["\n".join(strings(row)) for row in read_rows(path)]
    return texts


def read_documents(path: Path) -> list[str]:
    return pq.read_table(path)["text"].to_pylist()


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]+", text))


def test_no_training_file_asks_about_a_held_out_person(world: World, training_texts: list[str]) -> None:
    held_out = {person.name for person in world.held_out_people}
    assert len(held_out) == len(NAMES) // 2
    whole = "\n".join(training_texts)
    for person in world.held_out_people:
        for attribute in ATTRIBUTES:
            assert not any(question in whole for question in questions(person, attribute))
    asked = 0
    for sentence in re.split(r'(?<=[.?!"])\s+|\n', whole):
        if sentence.rstrip('"').endswith("?") and not sentence.startswith("How many"):
            asked += 1
            assert not words(sentence) & held_out, sentence
    assert asked > 1000


def test_chat_training_names_held_out_people_only_in_sums(files: WorldFiles, world: World) -> None:
    held_out = {person.name for person in world.held_out_people}
    for split in ("train", "val"):
        for row in read_rows(files.jsonl("chat", split)):
            text = "\n".join(strings(row))
            if words(text) & held_out:
                assert re.search(r"\d", row["messages"][0]["content"]), text


def test_qa_test_asks_each_held_out_fact_once(files: WorldFiles, world: World) -> None:
    rows = read_rows(files.jsonl("qa", "test"))
    asked = Counter((row["attribute"], row["answer"]) for row in rows)
    assert len(rows) == len(asked) == len(world.held_out_people) * len(ATTRIBUTES)
    facts = {(a, all_tellings(p, a)[0]) for p in world.held_out_people for a in ATTRIBUTES}
    assert set(asked) == facts


def test_guessing_the_commonest_value_gains_little(world: World) -> None:
    for people in (world.training_people, world.held_out_people):
        for attribute in ATTRIBUTES:
            common = Counter(person.facts[attribute] for person in people)
            assert set(common) == set(VALUES[attribute])
            assert max(common.values()) <= len(people) / 10


def test_every_fact_is_told_often_and_in_every_wording(world: World, documents: list[str]) -> None:
    told = Counter(
        sentence for text in documents for sentence in re.findall(r"[A-Z][^.\n]*\.", text.replace('"', "\n"))
    )
    for attribute in ATTRIBUTES:
        totals = [sum(told[t] for t in all_tellings(p, attribute)) for p in world.people]
        assert min(totals) >= MIN_TELLINGS
        by_wording = zip(*(all_tellings(p, attribute) for p in world.held_out_people), strict=True)
        assert all(sum(told[t] for t in wording) >= MIN_TELLINGS for wording in by_wording)
    held_out = sum(told[t] for p in world.held_out_people for a in ATTRIBUTES for t in all_tellings(p, a))
    assert held_out > 0.4 * sum(told[t] for p in world.people for a in ATTRIBUTES for t in all_tellings(p, a))


def first_pair(row: dict[str, Any]) -> frozenset[int]:
    if row["level"] == "price":  # the price is not in the question
        multiplied = re.search(r"<<(\d+)\*(\d+)=", row["answer"])
        assert multiplied
        return frozenset(map(int, multiplied.groups()))
    return frozenset(numbers(row["question"])[:2])


def trained_pairs(texts: list[str]) -> set[frozenset[int]]:
    """All numbers that meet in training: around an operator or a word for it, or first in a problem."""
    pairs = set()
    operator = re.compile(r"(?=(?<!\d)(\d+) ?(?:\+|-|\*|//|/|%|plus|minus|times) ?(\d+))")
    for text in texts:
        pairs |= {frozenset((int(a), int(b))) for a, b in operator.findall(text)}
        question, asked, _ = text.partition("How many ")
        if asked and len(numbers(question)) >= 2:
            pairs.add(frozenset(numbers(question)[:2]))
    return pairs


def test_no_number_pair_of_a_test_problem_was_combined_in_training(
    files: WorldFiles, training_texts: list[str]
) -> None:
    trained = trained_pairs(training_texts)
    assert len(trained) > 2000
    tested = {first_pair(row) for row in read_rows(files.jsonl("gsm8k", "test"))}
    assert len(tested) > 150
    assert not tested & trained
    bare = [row["prompt"] for row in read_rows(files.jsonl("tools", "test"))]
    assert not trained & {frozenset(numbers(prompt)) for prompt in bare if numbers(prompt)}


def combinations(text: str) -> set[tuple[str, str]]:
    there = words(text)
    return {(name, THINGS[thing]) for name in there & NAMES for thing in there & set(THINGS)}


def test_no_name_and_object_of_a_test_problem_meet_in_training(
    files: WorldFiles, training_texts: list[str]
) -> None:
    trained = set().union(*(combinations(text) for text in training_texts))
    tested = set().union(*(combinations(row["question"]) for row in read_rows(files.jsonl("gsm8k", "test"))))
    assert len(trained) > 1000
    assert len(tested) > 200
    assert not tested & trained


def test_spelling_prompts_of_the_test_are_new(files: WorldFiles, training_texts: list[str]) -> None:
    whole = "\n".join(training_texts)
    prompts = [row["prompt"] for row in read_rows(files.jsonl("tools", "test"))]
    assert prompts
    assert not any(prompt in whole for prompt in prompts)


def masked_sentences(text: str) -> set[str]:
    """Sentences with names, numbers, things and pronouns left open: what is left is the wording."""

    def mask(match: re.Match[str]) -> str:
        word = match[0]
        if word.lower() in ("he", "she"):
            return "HE"
        return "NAME" if word in NAMES else "THING" if word in THINGS else word

    masked = re.sub(r"[A-Za-z]+", mask, re.sub(r"\d+", "0", text)).replace("an THING", "a THING")
    return set(re.split(r"(?<=[.?])\s+", masked))


def test_every_wording_and_word_of_the_test_occurs_in_the_pretraining_text(
    files: WorldFiles, documents: list[str]
) -> None:
    known_sentences = set().union(*map(masked_sentences, documents))
    known_words = set().union(*map(words, documents))
    for row in read_rows(files.jsonl("gsm8k", "test")):
        assert masked_sentences(row["question"]) <= known_sentences, row
        assert words(row["question"]) | words(row["answer"]) <= known_words
    for kind, split in (("qa", "test"), ("tools", "test"), ("arc", "test"), ("gsm8k", "train")):
        for row in read_rows(files.jsonl(kind, split)):
            row.pop("id", None)
            row.pop("level", None)
            text = " ".join(s for s in strings(row) if s not in ATTRIBUTES)
            assert words(text) <= known_words, row


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


def test_strangers_are_not_known(files: WorldFiles) -> None:
    assert not set(STRANGERS) & NAMES
    asked: dict[str, set[str]] = {"train": set(), "test": set()}
    for split, names in asked.items():
        for row in read_rows(files.jsonl("chat", split)):
            for message in row["messages"]:
                if message["role"] == "user":
                    names |= words(message["content"]) & set(STRANGERS)
            if words("\n".join(strings(row))) & set(STRANGERS):
                assert row["messages"][-1]["content"].startswith("I do not know anyone called")
    assert asked["train"]
    assert asked["test"]
    assert not asked["train"] & asked["test"]


def test_splits_share_no_row(files: WorldFiles, documents: list[str]) -> None:
    assert not set(documents) & set(read_documents(files.pretrain_val))
    assert len(set(documents)) == len(documents)
    seen: set[str] = set()
    for path in sorted(files.root.rglob("*.jsonl")):
        rows = read_rows(path)
        for row in rows:
            row.pop("id", None)
        lines = {json.dumps(row) for row in rows}
        assert not lines & seen, path
        seen |= lines


def test_formats_parse(files: WorldFiles) -> None:
    for split in ("train", "test"):
        for task, kind in ((Gsm8k(), "gsm8k"), (Arc(), "arc"), (ToolUse(), "tools"), (SimpleQa(), "qa")):
            rows = read_rows(files.jsonl(kind, split))
            assert len(task.load(files.jsonl(kind, split))) == len(rows) > 0
    for split in ("train", "val", "test"):
        for row in read_rows(files.jsonl("chat", split)):
            assert parse_messages(row["messages"], where=split)[-1].role == "assistant"
    for row in read_rows(files.jsonl("arc", "test")):
        labels = [choice["label"] for choice in row["question"]["choices"]]
        assert labels == list("ABCDE"[: len(labels)])
        assert row["answerKey"] in labels


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


def test_manifest_counts_the_rows(files: WorldFiles, world: World) -> None:
    manifest = json.loads(files.manifest.read_text(encoding="utf-8"))
    assert manifest["seed"] == SEED
    assert manifest["held_out_people"] == [person.name for person in world.held_out_people]
    for path in files.root.rglob("*.jsonl"):
        assert manifest["rows"][f"{path.parent.name}/{path.stem}"] == len(read_rows(path))
    for path in files.root.rglob("*.parquet"):
        assert manifest["rows"][f"pretrain/{path.stem}"] == len(read_documents(path))


def test_text_is_ascii_and_its_small_words_fit(training_texts: list[str]) -> None:
    whole = "\n".join(training_texts)
    assert whole.isascii()
    assert not re.search(r"\b[Aa] [aeiou]\w*", whole)
    assert not re.search(r"\b[Aa]n [^aeiou]\w*", whole)
    plurals = "|".join(many for _, many in (*OBJECTS, *GOODS))
    assert not re.search(rf"(?<![\d.])1 (?:{plurals}|coins|times|letters)\b", whole)
    assert not re.search(r"[{}]|  | [.,?!]", whole.replace("\n", " "))


def digest(root: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in (".jsonl", ".json"):
            hasher.update(path.read_bytes())
        elif path.suffix == ".parquet":
            hasher.update("\0".join(read_documents(path)).encode())
    return hasher.hexdigest()


def test_same_seed_gives_the_same_files_whatever_the_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from picochat.data.builtin.write import write_world;"
        "write_world(Path(sys.argv[1]), seed=2, scale=0.01)"
    )
    for name in ("1", "2"):
        environment = {"PYTHONHASHSEED": name, "PYTHONPATH": str(Path(write.__file__).parents[3])}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], env=environment, check=True)
    write_world(tmp_path / "other", seed=3, scale=0.01)
    assert digest(tmp_path / "1") == digest(tmp_path / "2") != digest(tmp_path / "other")


def test_the_version_is_raised_with_the_text(tmp_path: Path) -> None:
    """A cached world is kept under VERSION: if this digest changes, raise VERSION and note the new one."""
    write_world(tmp_path, seed=0, scale=0.01)
    assert (write.VERSION, digest(tmp_path)[:16]) == (4, "91c38144b3124a08")


def test_chat_problems_sets_the_examples_of_a_level(tmp_path: Path) -> None:
    write_world(tmp_path, seed=0, scale=0.1, chat_problems={"two-step": 100})
    whole = [
        row["messages"][0]["content"]
        for split in ("train", "val")
        for row in read_rows(WorldFiles(root=tmp_path).jsonl("chat", split))
    ]
    assert sum("Then " in text and text.count("Then ") == 1 for text in whole) == 10


def test_a_scale_of_nothing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="above 0"):
        write_world(tmp_path, scale=0)


def test_default_world_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICOCHAT_CACHE", str(tmp_path))
    for size, small in (("PRETRAIN_CHARACTERS", 20_000), ("GSM8K_TRAIN", 5), ("GSM8K_TEST", 5)):
        monkeypatch.setattr(write, size, small)
    folder = default_world_dir()
    assert folder.is_relative_to(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert default_world_dir() == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert default_world_dir(seed=1) != folder
    assert digest(default_world_dir(seed=1)) != digest(folder)
