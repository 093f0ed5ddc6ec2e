"""Pretraining: next-token prediction on raw text."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from picochat.data.builtin.write import default_world_dir
from picochat.data.packing import PackedDocuments
from picochat.data.shards import TokenShards, tokenize_to_shards
from picochat.data.text import iter_texts
from picochat.errors import UserError
from picochat.eval.bpb import bits_per_byte
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import train_tokenizer
from picochat.train.checkpoint import newest_valid
from picochat.train.options import PretrainOptions
from picochat.train.run import Run
from picochat.train.run_dir import RunDir
from picochat.train.run_options import complete_options
from picochat.train.stage import Progress, build_trainer, compile_notes, left_out, make_sampler
from picochat.train.trainer import CrossEntropy

HELD_OUT = 0.01
"""Share of the documents that validation takes when no validation data is given."""


def pretrain(*, progress: Progress | None = None, **options: Any) -> Run:
    """Return a run, not yet started, that trains a model on text; keywords are those of PretrainOptions."""
    return build_pretrain(complete_options(PretrainOptions, "pretrain", options), progress=progress)


def build_pretrain(options: PretrainOptions, *, progress: Progress | None = None) -> Run:
    """Return the run that complete options describe."""
    data, val_data = options.data, options.val_data
    if not data:
        world = default_world_dir() / "pretrain"
        data, val_data = (str(world / "train.parquet"),), val_data or (str(world / "val.parquet"),)
    directory = RunDir(options.directory)
    tokenizer = _tokenizer(options, data, directory)

    def tokenize(paths: tuple[str, ...], what: str) -> TokenShards:
        return tokenize_to_shards(
            paths,
            tokenizer,
            column=options.column,
            split=options.split,
            on_bad_row=options.on_bad_row,
            kernels=options.kernels,
            progress=partial(progress, what) if progress else None,
        )

    shards = tokenize(data, "tokenizing")
    if val_data:
        val_shards = tokenize(val_data, "tokenizing validation")
    else:
        shards, val_shards = hold_out(shards, HELD_OUT, tokenizer)
    config = ModelConfig.from_depth(
        options.depth, vocab_size=tokenizer.vocab_size, sequence_len=options.seq_len
    )
    model = GPT(config)
    initialize(model, seed=options.seed)
    batches = PackedDocuments(
        shards,
        bos_id=tokenizer.special["<|bos|>"],
        batch_size=options.batch_size,
        seq_len=options.seq_len,
        seed=options.seed,
    )
    trainer = build_trainer(model, batches, CrossEntropy(), options)
    val_documents = list(_first_documents(val_shards, options.eval_tokens))
    prompts = {text: [tokenizer.special["<|bos|>"], *tokenizer.encode(text)] for text in options.prompts}

    def evaluate() -> dict[str, float]:
        result = bits_per_byte(model, val_documents, tokenizer=tokenizer, seq_len=options.seq_len)
        return {"bpb": result.bpb, "val_loss": result.bits / result.tokens * float(np.log(2))}

    return Run(
        directory,
        stage="pretrain",
        options=options,
        trainer=trainer,
        tokenizer=tokenizer,
        evaluate=evaluate,
        sample=make_sampler(model, tokenizer, prompts, options.seed),
        notes=[*left_out(shards.bad_rows, val_shards.bad_rows), *compile_notes(model)],
    )


def hold_out(shards: TokenShards, share: float, tokenizer: Tokenizer) -> tuple[TokenShards, TokenShards]:
    """Split off the last `share` of the documents (at least one) as validation."""
    if shards.num_documents < 2:
        raise UserError("the data is a single document, so none is left for validation; give --val-data")
    first = min(shards.num_documents - 1, round(shards.num_documents * (1 - share)))
    num_bytes_V = tokenizer.num_bytes
    return (
        shards.part(0, first, num_bytes_V=num_bytes_V),
        shards.part(first, shards.num_documents, num_bytes_V=num_bytes_V),
    )


def _first_documents(shards: TokenShards, max_tokens: int):
    num_tokens = 0
    for index in range(shards.num_documents):
        document = shards.document(index)
        if num_tokens + len(document) > max_tokens and num_tokens:
            return
        num_tokens += len(document)
        yield document[:max_tokens].tolist()


def _tokenizer(options: PretrainOptions, data: tuple[str, ...], directory: RunDir) -> Tokenizer:
    """Return the tokenizer of the run resumed, the one that was given, or one trained on the data."""
    if options.resume and directory.step_folders():
        return Tokenizer.load(newest_valid(directory)[0])
    if options.tokenizer is not None:
        return Tokenizer.load(Path(options.tokenizer))
    return train_tokenizer(
        iter_texts(data, column=options.column, split=options.split, on_bad_row=options.on_bad_row),
        options.vocab_size,
    )
