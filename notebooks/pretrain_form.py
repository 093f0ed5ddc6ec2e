"""The form in which a pretraining run is chosen, and the sizes that its page has where none are given."""

from dataclasses import dataclass, replace
from pathlib import Path

import marimo as mo

from picochat.commands.pretrain import Pretrain
from picochat.train.found import found_tokenizers
from picochat.train.run_dir import list_runs
from picochat.train.run_options import stored_options

NEW, LEARNED = "a new run", "a new one, trained on the text"


@dataclass(frozen=True, kw_only=True)
class PretrainPage(Pretrain):
    """Train a model on raw text; small enough by default to watch it learn."""

    vocab_size: int = 1024
    depth: int = 2
    seq_len: int = 128
    steps: int = 1000
    batch_size: int = 16
    warmup: int = 10
    eval_every: int = 25
    eval_tokens: int = 8192
    sample_every: int = 25
    save_every: int = 25
    keep: int = 200
    prompts: tuple[str, ...] = ("Once upon a time", "Rosa lives in", "Prices at the market:")


def form_of(options):
    """Return the form in which another run is chosen; its value is None until it is sent."""
    tokenizers = {LEARNED: "", **found_tokenizers(Path(options.runs_dir))}
    if options.tokenizer and options.tokenizer not in tokenizers.values():
        tokenizers = {options.tokenizer: options.tokenizer, **tokenizers}
    tokenizer = next(name for name, path in tokenizers.items() if path == (options.tokenizer or ""))
    runs = [run.name for run in list_runs(Path(options.runs_dir)) if run.info()["stage"] == "pretrain"]
    return (
        mo.md(
            "{run}\n\n**For a new run** (the others keep what they were begun with):\n\n"
            "{data}\n\n"
            "{tokenizer} {vocab_size}\n\n{tokenizer_file}\n\n"
            "{depth} {seq_len} {batch_size} {steps}\n\n{lr} {seed}"
        )
        .batch(
            run=mo.ui.dropdown([NEW, *runs], value=NEW, label="run"),
            data=mo.ui.text(
                value=", ".join(options.data),
                placeholder="empty: the built-in world. Or files and folders, with commas between them",
                label="text (txt, jsonl, parquet)",
                full_width=True,
            ),
            tokenizer=mo.ui.dropdown(tokenizers, value=tokenizer, label="tokenizer"),
            vocab_size=mo.ui.number(value=options.vocab_size, step=1, label="vocabulary of a new one"),
            tokenizer_file=mo.ui.text(
                placeholder="a tokenizer.json, or a folder with one, takes the place of the choice above",
                label="tokenizer file",
                full_width=True,
            ),
            depth=mo.ui.number(value=options.depth, step=1, label="layers"),
            seq_len=mo.ui.number(value=options.seq_len, step=1, label="context, tokens"),
            batch_size=mo.ui.number(value=options.batch_size, step=1, label="sequences a step"),
            steps=mo.ui.number(value=options.steps, step=1, label="steps"),
            lr=mo.ui.number(value=options.matrix_lr, step=0.00001, label="learning rate of the matrices"),
            seed=mo.ui.number(value=options.seed, step=1, label="seed"),
        )
        .form(submit_button_label="Build this model")
    )


def choose(options: PretrainPage, value: dict | None) -> PretrainPage:
    """Return the options that the form asks for; the given ones as long as it was not sent."""
    if value is None:
        return options
    if value["run"] != NEW:
        return stored_options(type(options), "pretrain", value["run"], options.runs_dir)
    words = [word.strip() for word in value["data"].split(",")]
    numbers = ("vocab_size", "depth", "seq_len", "batch_size", "steps", "lr", "seed")
    return replace(
        options,
        run=None,
        resume=False,
        data=tuple(word for word in words if word),
        tokenizer=value["tokenizer_file"].strip() or value["tokenizer"] or None,
        **{name: value[name] for name in numbers},
    )
