"""The two files: what is written is read back, by `tokenizers` too; what is no tokenizer is refused."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer as HuggingFaceTokenizer

from picochat.errors import UserError
from picochat.tokenizer.formats import BYTE_ALPHABET
from picochat.tokenizer.pieces import PATTERN
from picochat.tokenizer.special import SPECIAL_TOKENS
from picochat.tokenizer.tokenizer import Tokenizer


def same(left: Tokenizer, right: Tokenizer) -> bool:
    return left.fingerprint == right.fingerprint and left.vocabulary == right.vocabulary


def test_saves_and_loads_the_hugging_face_file(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new" / "some.json")
    assert same(Tokenizer.load(tmp_path / "new" / "some.json"), tokenizer)
    tokenizer.save(tmp_path)
    assert same(Tokenizer.load(tmp_path), tokenizer)
    assert same(Tokenizer.load(str(tmp_path / "tokenizer.json")), tokenizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "tokenizer.json"]


@pytest.mark.parametrize(("module", "failing"), [(Path, "open"), (os, "replace")])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tokenizer, tmp_path, monkeypatch, module, failing):
    Tokenizer.from_merges([], 272).save(tmp_path)
    old = (tmp_path / "tokenizer.json").read_bytes()

    def fail(path: Path, *_: object, **__: object) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module, failing, fail)
        for save in (tokenizer.save, tokenizer.save_rust):
            with pytest.raises(OSError, match="No space left"):
                save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    assert (tmp_path / "tokenizer.json").read_bytes() == old


def test_tokenizers_reads_the_file_alike(tokenizer, golden, tmp_path):
    tokenizer.save(tmp_path)
    theirs = HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.get_vocab_size() == tokenizer.vocab_size
    assert [theirs.token_to_id(special) for special in SPECIAL_TOKENS] == list(tokenizer.special.values())
    # Their reader takes specials in text for control, as everywhere outside of picochat.
    for case in golden["encode"]:
        assert theirs.encode(case["text"]).ids == case["ids"]
    assert theirs.decode(tokenizer.encode("naïve 漢字 😀")) == "naïve 漢字 😀"


def test_unused_ids_survive_in_the_file_and_no_text_reaches_them(tmp_path):
    tokenizer = Tokenizer.from_merges([(97, 98)], 300)
    tokenizer.save(tmp_path)
    theirs = HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.get_vocab_size() == 300
    for id in range(257, 284):
        name = theirs.id_to_token(id)
        assert id not in theirs.encode(name).ids
        assert id not in tokenizer.encode(name)
        assert not set(name) <= set(BYTE_ALPHABET)


def test_saves_and_loads_the_rust_file(tokenizer, golden, tmp_path):
    tokenizer.save_rust(tmp_path / "rust.json")
    document = json.loads((tmp_path / "rust.json").read_text(encoding="utf-8"))
    assert document == {"vocab_size": 340, "merges": golden["merges"], "pattern": PATTERN}
    assert same(Tokenizer.load(tmp_path / "rust.json"), tokenizer)


def test_a_file_of_older_tokenizers_versions_is_read(tokenizer, tmp_path):
    document = huggingface_document(tokenizer, tmp_path)
    document["model"]["merges"] = [" ".join(merge) for merge in document["model"]["merges"]]
    (tmp_path / "old.json").write_text(json.dumps(document), encoding="utf-8")
    assert same(Tokenizer.load(tmp_path / "old.json"), tokenizer)


def huggingface_document(tokenizer: Tokenizer, folder) -> dict:
    tokenizer.save(folder / "tokenizer.json")
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def assert_refused(file, content: str, reason: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=reason) as caught:
        Tokenizer.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def swap_bytes(document: dict) -> None:
    vocab = document["model"]["vocab"]
    vocab["!"], vocab['"'] = vocab['"'], vocab["!"]


def swap_specials(document: dict) -> None:
    tokens = document["added_tokens"]
    tokens[0]["content"], tokens[1]["content"] = tokens[1]["content"], tokens[0]["content"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: d.pop("model"), "model is not BPE"),
        (lambda d: d["model"].update(type="Unigram"), "model is not BPE"),
        (lambda d: d["model"].update(dropout=0.1), "dropout"),
        (lambda d: d["model"].update(byte_fallback=True), "changes text"),
        (lambda d: d.update(normalizer={"type": "NFC"}), "changes text"),
        (lambda d: d["model"].update(vocab=[]), "vocab is not an object"),
        (lambda d: d["model"]["vocab"].pop("!"), "id"),
        (swap_bytes, "id 33 should be '!'"),
        (lambda d: d["model"]["merges"].append(["zz", "q"]), "merge 68 joins 'zz' and 'q'"),
        (lambda d: d["model"]["merges"].append(["a", "q"]), "69 merges do not fit"),
        (lambda d: d["model"]["merges"].__setitem__(0, ["a"]), "merge 0 is not a pair"),
        (lambda d: d["model"]["merges"].reverse(), "merge|id"),
        (lambda d: d.update(pre_tokenizer=None), "pre_tokenizer"),
        (lambda d: d["pre_tokenizer"]["pretokenizers"].pop(), "pre_tokenizer"),
        (lambda d: d.update(added_tokens=[]), r"lacks the special tokens <\|bos\|>"),
        (lambda d: d["added_tokens"].pop(), r"lacks the special tokens <\|pad\|>"),
        (lambda d: d["added_tokens"].append({"content": "<eos>", "id": 340}), "1 added tokens .* '<eos>'"),
        (swap_specials, "not the last sixteen ids in their order"),
    ],
)
def test_a_damaged_or_foreign_hugging_face_file(
    tokenizer, tmp_path, damage: Callable[[dict], object], reason
):
    document = huggingface_document(tokenizer, tmp_path)
    damage(document)
    assert_refused(tmp_path / "bad.json", json.dumps(document), reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"merges": [[97, 98], [98, 99]], "vocab_size": 273}, "2 merges do not fit .* room for 1"),
        ({"merges": [[97, 256]]}, "merge 0 joins ids 97 and 256"),
        ({"merges": [[97, 98, 99]]}, "merge 0 is not a pair"),
        ({"merges": [[97, "98"]]}, "merge 0 is not a pair"),
        ({"merges": [[97, True]]}, "merge 0 is not a pair"),
        ({"merges": None}, "merges is missing"),
        ({"vocab_size": 16}, "vocabulary size 16 is out of range"),
        ({"vocab_size": 10**15}, "out of range"),
        ({"vocab_size": "300"}, "vocab_size is not a whole number"),
        ({"pattern": None}, "pattern is missing"),
        ({"pattern": "["}, "not a regular expression"),
    ],
)
def test_a_damaged_rust_file(tmp_path, change, reason):
    document = {"vocab_size": 300, "merges": [[97, 98]], "pattern": PATTERN, **change}
    assert_refused(tmp_path / "bad.json", json.dumps(document), reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[1]", "not an object"),
        ("[" * 100_000, "nested too deeply"),
        ("{}", "model is not BPE"),
    ],
)
def test_a_file_that_is_something_else(tmp_path, content, reason):
    assert_refused(tmp_path / "bad.json", content, reason)


def test_a_binary_file(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"x\.json: not JSON"):
        Tokenizer.load(tmp_path / "x.json")


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.json: no tokenizer here"):
        Tokenizer.load(tmp_path / "nothing.json")
    with pytest.raises(UserError, match=r"tokenizer\.json: no tokenizer here"):
        Tokenizer.load(tmp_path)
