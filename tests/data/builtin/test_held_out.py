"""What the test split asks is never asked, combined or told together in training: every file is read.

And what it asks can be known: its facts, wordings and words are all in the pretraining text.
"""

import json
import re
from collections import Counter
from typing import Any

from picochat.data.builtin.telling import all_tellings, questions
from picochat.data.builtin.world import ATTRIBUTES, STRANGERS, VALUES, World
from picochat.data.builtin.write import WorldFiles
from tests.data.builtin.reading import NAMES, THINGS, numbers, read_documents, read_rows, strings, words

# From scale 1 (about 400 tellings of a fact by name) in proportion, with a margin for chance.
MIN_TELLINGS = 50


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
