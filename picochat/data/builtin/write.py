"""The world as files, in the formats of real data."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picochat.data.builtin import conversations as chat
from picochat.data.builtin import questions, stories, sums
from picochat.data.builtin.arithmetic import LEVELS, Problem, make_problem
from picochat.data.builtin.telling import answer
from picochat.data.builtin.telling import questions as asked_about
from picochat.data.builtin.world import ATTRIBUTES, STRANGERS, Person, World, make_world, stream
from picochat.data.cache import build_once, default_cache_dir
from picochat.errors import UserError

VERSION = 4
"""Part of the cache's key: raise it when the same seed no longer gives the same files."""
PRETRAIN_CHARACTERS = 10_000_000
VALIDATION_SHARE = 0.02
SUM_SHARES = {
    "one-step": 30,
    "times": 12,
    "compare": 12,
    "two-step": 18,
    "many-step": 14,
    "remainder": 12,
    "price": 12,
}
"""How the solved problems of the pretraining text are spread over the levels (relative)."""
CHAT_PROBLEMS = {
    "one-step": 800,
    "times": 30,
    "compare": 4,
    "two-step": 6,
    "many-step": 4,
    "remainder": 4,
    "price": 4,
}
"""Solved problems in chat/train per level: one step is taught, the rest only shown, so that GRPO has room."""
GSM8K_TRAIN, GSM8K_TEST = 600, 200
"""Problems per level."""


@dataclass(frozen=True, kw_only=True)
class WorldFiles:
    """Where the files of a world are."""

    root: Path

    @property
    def pretrain_train(self) -> Path:
        return self.root / "pretrain" / "train.parquet"

    @property
    def pretrain_val(self) -> Path:
        return self.root / "pretrain" / "val.parquet"

    def jsonl(self, kind: str, split: str) -> Path:
        """`kind`: chat, gsm8k, arc, tools, qa; `split`: train, test, and val for chat."""
        return self.root / kind / f"{split}.jsonl"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"


class _Source:
    """Draws what has not been drawn before, so that no row stands in two files."""

    def __init__(self, seed: int, world: World, scale: float) -> None:
        self.seed, self.world, self.scale = seed, world, scale
        self._seen: set[str] = set()

    def count(self, base: int) -> int:
        return max(4, round(base * self.scale))

    def problems(self, label: str, level: str, count: int, *, test: bool = False) -> list[Problem]:
        rng = stream(self.seed, f"{label} {level}")
        return self._distinct(
            count, lambda: make_problem(rng, self.world, level, test=test), lambda problem: problem.question
        )

    def rows(self, count: int, draw: Callable[[], Any]) -> list[Any]:
        return self._distinct(count, draw, json.dumps)

    def _distinct(self, count: int, draw: Callable[[], Any], key: Callable[[Any], str]) -> list[Any]:
        drawn: list[Any] = []
        while len(drawn) < count:
            item = draw()
            if key(item) not in self._seen:
                self._seen.add(key(item))
                drawn.append(item)
        return drawn


def write_world(
    out: Path, *, seed: int = 0, scale: float = 1.0, chat_problems: Mapping[str, int] = CHAT_PROBLEMS
) -> WorldFiles:
    """Write all files of the world of `seed` into the folder `out` and return where they are.

    scale multiplies the amount of text and of problems (facts, their questions and the people stay);
    chat_problems is the number of solved problems per level in chat/train.
    Equal arguments give equal files, on every platform. Raises UserError if `scale` is not positive.
    """
    if scale <= 0:
        raise UserError(f"scale is {scale}: it multiplies the size of the world and has to be above 0")
    files, world = WorldFiles(root=out), make_world(seed)
    source = _Source(seed, world, scale)
    documents = _pretrain_documents(seed, world, round(PRETRAIN_CHARACTERS * scale))
    held = max(1, round(len(documents) * VALIDATION_SHARE))
    counts = {
        "pretrain/val": _write_parquet(files.pretrain_val, documents[:held]),
        "pretrain/train": _write_parquet(files.pretrain_train, documents[held:]),
    }
    tables = {
        **_gsm8k(source),
        **_qa(source),
        **_arc(source),
        **_tools(source),
        **_chat(source, chat_problems),
    }
    for (kind, split), rows in tables.items():
        counts[f"{kind}/{split}"] = _write_jsonl(files.jsonl(kind, split), rows)
    manifest = {
        "version": VERSION,
        "seed": seed,
        "scale": scale,
        "pretrain_characters": sum(map(len, documents)),
        "people": len(world.people),
        "held_out_people": [person.name for person in world.held_out_people],
        "levels": LEVELS,
        "rows": counts,
    }
    files.manifest.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8", newline="\n")
    return files


def default_world_dir(*, seed: int = 0) -> Path:
    """Return the folder of the default world in picochat's cache; written on the first call."""
    folder = _default_folder(seed)

    def build(temporary: Path) -> None:
        write_world(temporary, seed=seed)

    build_once(folder, build, lambda whole: WorldFiles(root=whole).manifest.exists())
    return folder


def is_default_world_written(*, seed: int = 0) -> bool:
    """Whether the default world is in the cache, so that `default_world_dir` returns at once."""
    return WorldFiles(root=_default_folder(seed)).manifest.exists()


def _default_folder(seed: int) -> Path:
    return default_cache_dir() / "worlds" / f"valley-v{VERSION}-seed{seed}"


def _pretrain_documents(seed: int, world: World, characters: int) -> list[str]:
    """Distinct documents in random order, `characters` long in all."""
    rng = stream(seed, "pretrain")

    def solved(rng: random.Random, world: World) -> str:
        level = rng.choices(LEVELS, [SUM_SHARES[level] for level in LEVELS])[0]
        return sums.worked_prose(rng, make_problem(rng, world, level))

    kinds = [
        *stories.DOCUMENTS,
        (solved, 42),
        (sums.drill, 5),
        (questions.quiz, 7),
        (questions.spelling, 4),
        (questions.strangers, 2),
    ]
    writers, weights = [kind for kind, _ in kinds], [weight for _, weight in kinds]
    documents: dict[str, None] = {}
    written = 0
    while written < characters:
        document = rng.choices(writers, weights)[0](rng, world)
        if document not in documents:
            documents[document] = None
            written += len(document)
    return list(documents)


def _gsm8k(source: _Source) -> dict[tuple[str, str], list[Any]]:
    tables: dict[tuple[str, str], list[Any]] = {}
    for split, base in (("train", GSM8K_TRAIN), ("test", GSM8K_TEST)):
        rows = []
        for level in LEVELS:
            problems = source.problems(f"gsm8k {split}", level, source.count(base), test=split == "test")
            rows += [sums.gsm8k_row(problem) for problem in problems]
        tables["gsm8k", split] = rows
    return tables


def _qa(source: _Source) -> dict[tuple[str, str], list[Any]]:
    """Training people in every wording; of the others each fact once, in one wording."""
    rng = stream(source.seed, "qa")
    train = [
        questions.qa_row(person, attribute, wording)
        for person in source.world.training_people
        for attribute in ATTRIBUTES
        for wording in range(len(asked_about(person, attribute)))
    ]
    test = [
        questions.qa_row(person, attribute, rng.randrange(len(asked_about(person, attribute))))
        for person in source.world.held_out_people
        for attribute in ATTRIBUTES
    ]
    return {("qa", "train"): train, ("qa", "test"): test}


def _arc(source: _Source) -> dict[tuple[str, str], list[Any]]:
    rng = stream(source.seed, "arc")
    tables: dict[tuple[str, str], list[Any]] = {}
    sides = (("train", source.world.training_people, 4), ("test", source.world.held_out_people, 2))
    for split, people, times in sides:
        facts = [(person, attribute) for _ in range(times) for person in people for attribute in ATTRIBUTES]
        tables["arc", split] = [
            questions.choice_row(rng, person, attribute, f"valley-{split}-{i}")
            for i, (person, attribute) in enumerate(facts)
        ]
    return tables


def _tools(source: _Source) -> dict[tuple[str, str], list[Any]]:
    tables: dict[tuple[str, str], list[Any]] = {}
    for split, base in (("train", 300), ("test", 100)):
        rng = stream(source.seed, f"tools {split}")
        rows = source.rows(
            source.count(base), lambda rng=rng, split=split: questions.tool_item(rng, test=split == "test")[0]
        )
        tables["tools", split] = rows
    return tables


def _chat(source: _Source, chat_problems: Mapping[str, int]) -> dict[tuple[str, str], list[Any]]:
    """Train and val are drawn from one pool; test has the held-out people, numbers and names."""
    pool = _chat_pool(source, source.world.training_people, STRANGERS[:24], chat_problems, test=False)
    stream(source.seed, "chat split").shuffle(pool)
    held = max(8, round(0.04 * len(pool)))
    few = {level: 20 for level in LEVELS}
    test = _chat_pool(source, source.world.held_out_people, STRANGERS[24:], few, test=True)
    stream(source.seed, "chat test").shuffle(test)
    return {("chat", "train"): pool[held:], ("chat", "val"): pool[:held], ("chat", "test"): test}


def _chat_pool(
    source: _Source,
    people: tuple[Person, ...],
    strangers: Sequence[str],
    problems: Mapping[str, int],
    *,
    test: bool,
) -> list[Any]:
    rng = stream(source.seed, f"chat {'test' if test else 'train'}")
    world = source.world
    # The test is a tenth of the rest, but for facts: each is asked there once.
    share = 0.1 if test else 1.0

    def pick() -> tuple[Person, str]:
        return rng.choice(people), rng.choice(ATTRIBUTES)

    rows: list[Any] = []
    for person in people:
        for attribute in ATTRIBUTES:
            asked = asked_about(person, attribute)
            reply = answer(person, attribute)
            chosen = [rng.choice(asked)] if test else asked
            rows += [
                chat.conversation([(question, reply)], system=chat.maybe_system(rng)) for question in chosen
            ]
    for level, count in problems.items():
        drawn = source.problems(f"chat {test}", level, source.count(count), test=test)
        rows += [chat.sum_question(problem) for problem in drawn]
    drawers: tuple[tuple[int, Callable[[], Any]], ...] = (
        (500, lambda: chat.dialogue(rng, people)),
        (250, lambda: chat.small_talk(rng, world)),
        (100, lambda: chat.stranger_question(rng, people, rng.choice(strangers))),
        (300, lambda: chat.choice_question(rng, *pick())),
        (60, lambda: chat.story_request(rng, world, rng.choice(people))),
        (300, lambda: chat.tool_request(rng, test=test)),
    )
    for count, draw in drawers:
        rows += source.rows(source.count(round(count * share)), draw)
    return rows


def _write_parquet(path: Path, documents: Sequence[str]) -> int:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"text": pyarrow.array(documents, type=pyarrow.string())})
    pyarrow.parquet.write_table(table, path, compression="zstd", row_group_size=4096)
    return len(documents)


def _write_jsonl(path: Path, rows: Sequence[Any]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return len(rows)
