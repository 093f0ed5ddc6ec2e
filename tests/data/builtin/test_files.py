"""The files of the built-in world: their formats and counts, the same for a seed, and where they are kept."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from picochat.data.builtin import write
from picochat.data.builtin.world import GOODS, OBJECTS, World
from picochat.data.builtin.write import WorldFiles, default_world_dir, write_world
from picochat.errors import UserError
from picochat.tasks.arc import Arc
from picochat.tasks.gsm8k import Gsm8k
from picochat.tasks.simple_qa import SimpleQa
from picochat.tasks.tool_use import ToolUse
from picochat.tokenizer.conversation import parse_messages
from tests.data.builtin.reading import SEED, digest, read_documents, read_rows


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
