"""What is found to begin a run with, and the examples of what a run reads."""

import json

from picochat.data.ahead import Ahead
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.documents import example_documents
from picochat.train.found import found_tokenizers


def test_tokenizers_are_found_with_their_size(tmp_path, begin):
    run = begin(tmp_path / "runs", "base", steps=1)
    list(run)
    checkpoint = run.directory.checkpoints()[1]
    for folder in (tmp_path / "tok", tmp_path / "broken", tmp_path / "deep" / "er"):
        folder.mkdir(parents=True)
        run.tokenizer.save(folder)
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    found = found_tokenizers(tmp_path / "runs", tmp_path)
    assert found == {
        f"{tmp_path / 'tok'} (280 tokens)": str(tmp_path / "tok"),
        "that of the run base (280 tokens)": str(checkpoint),
    }
    assert all(Tokenizer.load(path).vocab_size == 280 for path in found.values())
    assert json.loads((checkpoint / "config.json").read_text())["vocab_size"] == 280
    assert found_tokenizers(tmp_path / "none", tmp_path / "none") == {}


def test_examples_are_documents_that_are_read(tmp_path, begin, text_file):
    run = begin(tmp_path, steps=1)
    paragraphs = text_file.read_text(encoding="utf-8").split("\n\n")
    wanted = next(text for text in paragraphs[1:] if text != paragraphs[0]).split()[-1]
    first, *others = example_documents(run, 3, about=(wanted,))
    assert wanted in first
    assert len(others) == 2
    assert all(text.strip() in {paragraph.strip() for paragraph in paragraphs} for text in (first, *others))
    # As on a device that a batch is made for ahead of its turn.
    run.trainer.batches = Ahead(run.trainer.batches, pins=False)
    assert example_documents(run, 3, about=(wanted,)) == [first, *others]
    run.close()
