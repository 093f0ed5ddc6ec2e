"""Supervised fine-tuning: learn to answer from conversations."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from picochat.data.builtin.write import default_world_dir
from picochat.data.mixture import Dataset, Mixture, parse_weighted_path, train_validation_split
from picochat.data.sft import Conversations, PackedConversations
from picochat.errors import UserError
from picochat.eval.conversations import answer_loss
from picochat.model.gpt import GPT
from picochat.tokenizer.conversation import Rendered, parse_messages, render_prompt
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import load_trainable, newest_valid
from picochat.train.options import SftOptions
from picochat.train.run import Run
from picochat.train.run_dir import RunDir, resolve_checkpoint
from picochat.train.run_options import complete_options
from picochat.train.stage import Progress, build_trainer, compile_notes, left_out, make_sampler
from picochat.train.trainer import CrossEntropy

HELD_OUT = 0.05
"""Share of each data set that validation takes when no validation data is given."""


def sft(*, progress: Progress | None = None, **options: Any) -> Run:
    """Return a run, not yet started, that fine-tunes a model; the keywords are those of SftOptions."""
    return build_sft(complete_options(SftOptions, "sft", options), progress=progress)


def build_sft(options: SftOptions, *, progress: Progress | None = None) -> Run:
    """Return the run that complete options describe."""
    if not options.load:
        raise UserError("--load is missing: name the run or checkpoint to begin with")
    directory = RunDir(options.directory)
    if options.resume and directory.step_folders():
        # Not from the parent: it may be gone, or another one by now.
        start, parent = newest_valid(directory)[0], None
    else:
        start = resolve_checkpoint(options.load, Path(options.runs_dir))
        parent = str(start)
    model, tokenizer = load_trainable(start)
    context = model.config.sequence_len
    if options.seq_len > context:
        raise UserError(f"--seq-len {options.seq_len} is over the model's context of {context} tokens")
    options = replace(options, seq_len=options.seq_len or context)
    mixture, validation, notes = _data(options, tokenizer)
    batches = PackedConversations(
        mixture,
        pad_id=tokenizer.special["<|pad|>"],
        batch_size=options.batch_size,
        seq_len=options.seq_len,
    )
    trainer = build_trainer(model, batches, CrossEntropy(), options)

    def evaluate() -> dict[str, float]:
        share = max(1, options.eval_tokens // len(validation))
        losses = [answer_loss(model, dataset, max_tokens=share) for dataset in validation]
        return {"val_loss": sum(losses) / len(losses)}

    return Run(
        directory,
        stage="sft",
        options=options,
        trainer=trainer,
        tokenizer=tokenizer,
        evaluate=evaluate,
        sample=make_sampler(model, tokenizer, _prompts(options, tokenizer, model), options.seed),
        parent=parent,
        notes=[*notes, *compile_notes(model)],
    )


def _prompts(options: SftOptions, tokenizer: Tokenizer, model: GPT) -> dict[str, list[int]]:
    prompts = {}
    for text in options.prompts:
        messages = parse_messages([{"role": "user", "content": text}], where="--prompts")
        prompts[text] = render_prompt(tokenizer, messages)
        if len(prompts[text]) >= model.config.sequence_len:
            raise UserError(f"--prompts {text[:40]!r}...: is as long as the model's context")
    return prompts


def _data(
    options: SftOptions, tokenizer: Tokenizer
) -> tuple[Mixture[Rendered], list[Dataset[Rendered]], list[str]]:
    """Return the training mixture, the validation sets, and what there is to say about rows left out."""
    specs, val_specs = options.data, options.val_data
    if not specs:
        chat = default_world_dir() / "chat"
        specs, val_specs = (str(chat / "train.jsonl"),), val_specs or (str(chat / "val.jsonl"),)
    paths, weights = zip(*(parse_weighted_path(spec) for spec in specs), strict=True)
    files: list[Conversations] = []
    fingerprints: list[str] = []
    training: list[Dataset[Rendered]] = []
    validation: list[Dataset[Rendered]] = []
    for path in paths:
        conversations = Conversations(path, tokenizer, on_bad_row=options.on_bad_row)
        files.append(conversations)
        fingerprints.append(conversations.fingerprint)
        if val_specs:
            training.append(conversations)
        else:
            train, held_out = train_validation_split(conversations, fraction=HELD_OUT, seed=options.seed)
            training.append(train)
            validation.append(held_out)
    for path in val_specs:
        conversations = Conversations(path, tokenizer, on_bad_row=options.on_bad_row)
        files.append(conversations)
        validation.append(conversations)
    notes = left_out(*(conversations.bad_rows.summary() for conversations in files))
    return Mixture(training, weights, options.seed, fingerprints=fingerprints), validation, notes
