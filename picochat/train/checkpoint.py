"""Checkpoints: folders of safetensors and JSON, complete or not there at all."""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from picochat.errors import UserError
from picochat.files import naming
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.int8 import is_int8, with_int8_layers
from picochat.optim.groups import GroupedOptimizer
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.run_dir import CHECKPOINT_FILES, RunDir, read_json, read_object, write_json
from picochat.train.world import copy_whole_

RESUMED_FILES = (*CHECKPOINT_FILES, "optimizer.safetensors", "state.json")
"""What a run needs to go on."""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, survive a power cut."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handle on a folder to flush.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_checkpoint(
    path: Path,
    *,
    model: GPT,
    tokenizer: Tokenizer,
    weights: dict[str, torch.Tensor] | None = None,
    optimizer: dict[str, torch.Tensor] | None = None,
    state: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint to the folder `path`, which appears whole or, after a crash, not at all.

    weights: those of `model` if it is divided among ranks and so does not have them itself.

    Raises:
        UserError: a tensor holds NaN or infinity; nothing is written.
        OSError: the disk is full, may not be written to, or holds a checkpoint at `path` already.
    """
    weights = _on_cpu(model.state_dict() if weights is None else weights)
    moments = None if optimizer is None else _on_cpu(optimizer)
    if name := not_finite({**weights, **(moments or {})}):
        raise UserError(
            f"{path}: not saved, since {name} holds NaN or infinity; go on from the checkpoint before, with "
            "--resume and a lower --lr"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with naming(path):
            save_file(weights, temporary / "model.safetensors")
            model.config.save(temporary / "config.json")
            tokenizer.save(temporary / "tokenizer.json")
            if moments is not None:
                save_file(moments, temporary / "optimizer.safetensors")
            if state is not None:
                write_json(temporary / "state.json", state)
            files = sorted(temporary.iterdir())
            for file in files:
                _sync(file)
            write_json(temporary / "MANIFEST.json", {"sha256": {file.name: _sha256(file) for file in files}})
            _sync(temporary / "MANIFEST.json")
            _sync(temporary)
            temporary.rename(path)
            _sync(path.parent)
    except SafetensorError as error:
        # The library reports a full disk or a refused write by its own exception.
        raise OSError(f"{path}: could not be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity."""
    return next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)


def _temporary(path: Path) -> Path:
    """Return the name of a checkpoint that is not there yet, or no longer."""
    return path.with_name(f".{path.name}.tmp-{os.getpid()}")


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint such that a crash meanwhile does not leave a part of it under its name."""
    path.rename(_temporary(path))
    _delete(_temporary(path))


def _delete(path: Path) -> None:
    """Delete a folder, or the link that stands in its place: what that leads to is not the run's."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def prune(run: RunDir, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints and the best."""
    checkpoints = run.checkpoints()
    best = run.best()
    for step in list(checkpoints)[:-keep]:
        if step != best:
            remove_checkpoint(checkpoints[step])


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint so that it counts no longer; return its new name."""
    aside = path.with_name(f"{path.name}.damaged")
    if aside.exists() or aside.is_symlink():
        _delete(aside)
    return path.rename(aside)


def sweep(run: Path) -> None:
    """Remove what a killed process left in the folder of a run."""
    for leftover in (run / "checkpoints").glob(".step-*.tmp-*"):
        with suppress(OSError):
            _delete(leftover)
    for name in ("run.json", "status.json"):
        for leftover in run.glob(f".{name}.*.tmp"):
            leftover.unlink()


def verify(path: Path, needed: Sequence[str] = CHECKPOINT_FILES) -> None:
    """Raise `UserError` naming the file if one is missing, was changed, or is needed but not in the manifest.

    A file may be a link that leads out of the folder, as in the cache of Hugging Face: what it leads to has
    to have the checksum.
    """
    manifest = path / "MANIFEST.json"
    if not manifest.is_file():
        return
    digests = read_object(manifest, "sha256")["sha256"]
    missing = [name for name in needed if not isinstance(digests, dict) or name not in digests]
    if missing:
        raise UserError(
            f"{manifest}: does not list {', '.join(missing)}, so the checkpoint is damaged; use an earlier "
            "one"
        )
    for name, digest in digests.items():
        file = path / name
        if not file.is_file():
            raise UserError(f"{file}: is missing, so the checkpoint is damaged; use an earlier one")
        if _sha256(file) != digest:
            raise UserError(f"{file}: differs from its checksum, so it is damaged; use an earlier checkpoint")


def newest_valid(run: RunDir) -> tuple[Path, dict[Path, str]]:
    """Return the newest checkpoint that is not damaged, and what is wrong with those that are newer."""
    problems: dict[Path, str] = {}
    for path in reversed(run.step_folders().values()):
        try:
            if not (path / "MANIFEST.json").is_file():
                raise UserError(f"{path / 'MANIFEST.json'}: is missing, so the checkpoint is damaged")
            verify(path, RESUMED_FILES)
            for name in ("model.safetensors", "optimizer.safetensors"):
                if tensor := not_finite(load_tensors(path / name)):
                    raise UserError(
                        f"{path / name}: {tensor} holds NaN or infinity, so the checkpoint is damaged"
                    )
        except UserError as error:
            problems[path] = str(error)
            continue
        return path, problems
    raise UserError(f"run {run.name} has no sound checkpoint: " + "; ".join(problems.values()))


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error


def load_weights(model: GPT, path: Path) -> None:
    """Copy the tensors of a safetensors file into `model`; one missing, extra or mis-shaped is an error."""
    own = model.state_dict()
    saved = load_tensors(path)
    for name in own:
        if name not in saved:
            raise UserError(
                f"{path}: lacks the tensor {name}; config.json and the weights do not belong together"
            )
    for name, tensor in saved.items():
        if name not in own:
            raise UserError(f"{path}: holds the tensor {name}, which this model does not have")
        if tensor.shape != own[name].shape:
            raise UserError(f"{path}: {name} has shape {list(tensor.shape)}, not {list(own[name].shape)}")
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise UserError(f"{path}: {name} holds {tensor.dtype}, not {own[name].dtype}")
        copy_whole_(own[name], tensor)


def restore(path: Path, model: GPT, optimizer: GroupedOptimizer) -> dict[str, Any]:
    """Copy the weights and moments of a run's checkpoint in; return its state.json."""
    load_weights(model, path / "model.safetensors")
    moments = path / "optimizer.safetensors"
    try:
        optimizer.load_state_dict(load_tensors(moments))
    except UserError as error:
        raise UserError(f"{moments}: {error}") from error
    return read_json(path / "state.json")


def load_checkpoint(path: Path, *, device: torch.device | str = "cpu") -> tuple[GPT, Tokenizer]:
    """Return the model and the tokenizer of a checkpoint folder."""
    verify(path)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (path / name).is_file():
            raise UserError(
                f"{path}: lacks {name}; a checkpoint holds model.safetensors, config.json, tokenizer.json"
            )
    config = ModelConfig.load(path / "config.json")
    tokenizer = Tokenizer.load(path / "tokenizer.json")
    if tokenizer.vocab_size != config.vocab_size:
        raise UserError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} ids but the model {config.vocab_size}; "
            "use the tokenizer.json that the model was trained with"
        )
    model = GPT(config)
    if _has_scales(path / "model.safetensors"):
        model = with_int8_layers(model)
    load_weights(model, path / "model.safetensors")
    return model.to(device), tokenizer


def load_trainable(path: Path) -> tuple[GPT, Tokenizer]:
    """Return what `load_checkpoint` does; raise UserError if the weights are int8."""
    model, tokenizer = load_checkpoint(path)
    if is_int8(model):
        raise UserError(f"{path}: int8 weights can not be trained; use the checkpoint they were made from")
    return model, tokenizer


def _has_scales(path: Path) -> bool:
    """Whether a safetensors file was written by `picochat quantize`."""
    try:
        with safe_open(path, "pt") as file:
            return any(name.endswith(".scale") for name in file.keys())  # noqa: SIM118 (it is no dict)
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
