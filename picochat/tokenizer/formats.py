"""The two files that hold a vocabulary: Hugging Face `tokenizers` JSON (ours) and the Rust picochat's JSON.

Both readers raise UserError with the reason only; `Tokenizer.load` puts the path before it.
"""

from typing import TYPE_CHECKING, Any

from picochat.errors import UserError
from picochat.tokenizer.special import NUM_SPECIAL, SPECIAL_TOKENS
from picochat.tokenizer.vocabulary import NUM_BYTES, Vocabulary

if TYPE_CHECKING:
    import tokenizers


def _byte_alphabet() -> list[str]:
    """GPT-2's printable character for each byte, as `tokenizers` spells byte-level tokens."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    alphabet, shift = [], 0
    for byte in range(NUM_BYTES):
        alphabet.append(chr(byte if byte in printable else 256 + shift))
        shift += byte not in printable
    return alphabet


BYTE_ALPHABET = _byte_alphabet()
_ALPHABET_TABLE = dict(enumerate(BYTE_ALPHABET))

ESCAPED_BAR = "|\ufdd0"
"""A `|` of ordinary text in a conversation that transformers renders: with a noncharacter behind it, which no
text should hold, it is not part of a special. The normalizer of an export takes that off again."""
_UNESCAPE = {"type": "Replace", "pattern": {"String": ESCAPED_BAR}, "content": "|"}


def spell(token: bytes) -> str:
    """A token's bytes in the byte-level alphabet."""
    return token.decode("latin-1").translate(_ALPHABET_TABLE)


def unused_name(id: int) -> str:
    """Entry of an unused id. It has a space, which no byte-level token can, so no text encodes to it."""
    return f"<unused {id}>"


def _names(vocabulary: Vocabulary) -> list[str]:
    """The vocabulary entry of every id but the specials."""
    ordinary = vocabulary.token_table()[:-NUM_SPECIAL]
    return [spell(token) if token else unused_name(id) for id, token in enumerate(ordinary)]


def build_huggingface(vocabulary: Vocabulary) -> "tokenizers.Tokenizer":
    """The `tokenizers` object that defines the ids of a text (and whose `save` writes tokenizer.json)."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    names = _names(vocabulary)
    merges = [(names[left], names[right]) for left, right in vocabulary.merges]
    tokenizer = Tokenizer(models.BPE(vocab={name: id for id, name in enumerate(names)}, merges=merges))
    split = pre_tokenizers.Split(Regex(vocabulary.pattern), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(special, special=True, normalized=False) for special in SPECIAL_TOKENS]
    )
    # Not part of the file: text that spells a special stays text.
    tokenizer.encode_special_tokens = True
    return tokenizer


def build_export(vocabulary: Vocabulary) -> "tokenizers.Tokenizer":
    """`build_huggingface` with the normalizer for `ESCAPED_BAR`, which comes after specials are found."""
    from tokenizers import normalizers

    tokenizer = build_huggingface(vocabulary)
    tokenizer.normalizer = normalizers.Replace(ESCAPED_BAR, "|")
    return tokenizer


def parse_huggingface(document: dict[str, Any]) -> Vocabulary:
    """The vocabulary in a tokenizer.json that picochat wrote or exported; any other file is a UserError."""
    model = document.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE":
        raise _foreign("its model is not BPE")
    for option in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            raise _foreign(f"its BPE model has {option}")
    is_normalized = document.get("normalizer") not in (None, _UNESCAPE)
    if is_normalized or model.get("byte_fallback") or model.get("ignore_merges"):
        raise _foreign("it changes text before or after the merges")
    names, merges = model.get("vocab"), model.get("merges")
    if not isinstance(names, dict) or not isinstance(merges, list):
        raise _foreign("its vocab is not an object or its merges are not a list")
    vocab_size = len(names) + NUM_SPECIAL
    vocabulary = Vocabulary(
        merges=tuple(_merge_ids(names, merge, i) for i, merge in enumerate(merges)),
        vocab_size=vocab_size,
        pattern=_split_pattern(document.get("pre_tokenizer")),
    )
    for id, name in enumerate(_names(vocabulary)):
        if names.get(name) != id:
            raise _foreign(f"id {id} should be {name!r} (256 bytes in order, then the merges)")
    _check_specials(document.get("added_tokens"), vocabulary.special_ids())
    return vocabulary


def parse_rust(document: dict[str, Any]) -> Vocabulary:
    """The vocabulary in the Rust picochat's JSON: vocab_size, merges, pattern."""
    vocab_size, merges, pattern = (document.get(key) for key in ("vocab_size", "merges", "pattern"))
    if type(vocab_size) is not int:
        raise UserError("vocab_size is not a whole number; use its original file")
    if not isinstance(pattern, str):
        raise UserError("pattern is missing or not a string; use its original file")
    if not isinstance(merges, list):
        raise UserError("merges is missing or not a list; use its original file")
    for i, merge in enumerate(merges):
        if not isinstance(merge, list) or [type(id) for id in merge] != [int, int]:
            raise UserError(f"merge {i} is not a pair of ids; use its original file")
    return Vocabulary(
        merges=tuple((left, right) for left, right in merges), vocab_size=vocab_size, pattern=pattern
    )


def rust_document(vocabulary: Vocabulary) -> dict[str, Any]:
    """What the Rust picochat reads back: exactly its three keys."""
    return {
        "vocab_size": vocabulary.vocab_size,
        "merges": [list(merge) for merge in vocabulary.merges],
        "pattern": vocabulary.pattern,
    }


def _foreign(reason: str) -> UserError:
    return UserError(f"not a picochat tokenizer: {reason}; train one with `picochat tokenizer train`")


def _merge_ids(names: dict[str, Any], merge: object, i: int) -> tuple[int, int]:
    # Files of older `tokenizers` versions hold "left right" instead of ["left", "right"].
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
        raise _foreign(f"merge {i} is not a pair of tokens")
    left, right = names.get(pair[0]), names.get(pair[1])
    if type(left) is not int or type(right) is not int:
        raise _foreign(f"merge {i} joins {pair[0]!r} and {pair[1]!r}, which are not both in its vocabulary")
    return left, right


def _split_pattern(pre_tokenizer: object) -> str:
    """The pattern, if the pre-tokenizer is the one `build_huggingface` makes."""
    match pre_tokenizer:
        case {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": str(pattern)},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return pattern
        case _:
            raise _foreign("its pre_tokenizer is not one split pattern followed by bytes")


def _check_specials(added_tokens: object, special_ids: dict[str, int]) -> None:
    found: dict[object, object] = {}
    for token in added_tokens if isinstance(added_tokens, list) else []:
        if not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise _foreign("an added token has no content")
        found[token["content"]] = token.get("id")
    if missing := [special for special in special_ids if special not in found]:
        raise _foreign(f"it lacks the special tokens {' '.join(missing)}")
    if extra := [content for content in found if content not in special_ids]:
        raise _foreign(f"it has {len(extra)} added tokens that picochat does not know, as {extra[0]!r}")
    if found != special_ids:
        raise _foreign("its special tokens are not the last sixteen ids in their order")
