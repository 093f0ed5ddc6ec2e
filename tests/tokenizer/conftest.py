import json
from pathlib import Path

import pytest

from picochat.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def golden() -> dict:
    """Facts about the Rust picochat's tokenizer, found by running it."""
    return json.loads((Path(__file__).parent / "golden_rust.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def tokenizer(golden) -> Tokenizer:
    return Tokenizer.from_merges(golden["merges"], golden["vocab_size"])
