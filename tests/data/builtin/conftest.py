"""The built-in world, written once and small, and what it says."""

import pytest

from picochat.data.builtin.world import World, make_world
from picochat.data.builtin.write import WorldFiles, write_world
from tests.data.builtin.reading import SCALE, SEED, read_documents, read_rows, strings


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> WorldFiles:
    return write_world(tmp_path_factory.mktemp("world"), seed=SEED, scale=SCALE)


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(SEED)


@pytest.fixture(scope="session")
def documents(files: WorldFiles) -> list[str]:
    return read_documents(files.pretrain_train)


@pytest.fixture(scope="session")
def training_texts(files: WorldFiles) -> list[str]:
    """Every document and every row that training may see, as plain text (JSON rows: all their strings)."""
    texts = read_documents(files.pretrain_train) + read_documents(files.pretrain_val)
    paths = [path for path in files.root.rglob("*.jsonl") if path.stem in ("train", "val")]
    assert len(paths) == 6
    for path in paths:
        texts += ["\n".join(strings(row)) for row in read_rows(path)]
    return texts
