"""A process that measures tensors, so that the app stays quick and holds no numpy.

Reads a request a line from standard input and writes replies to standard output, all JSON:

    {"op": "stats", "path": P, "name": N}      -> one reply
    {"op": "survey", "path": P}                -> a reply for each tensor, then {"done": true}
    {"op": "compare", "path": P, "other": Q}   -> likewise, for tensors that both files have

A reply to what can not be done holds `error`.
"""

import json
import math
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from picochat.errors import UserError
from workbench.tensor_files import TensorFacts, TensorFile

CHUNK = 1 << 21
"""Values that are looked at together."""
BINS = 2048
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
NUMPY = {
    "F64": "<f8", "I64": "<i8", "U64": "<u8", "F32": "<f4", "I32": "<i4", "U32": "<u4", "F16": "<f2",
    "BF16": "<u2", "I16": "<i2", "U16": "<u2", "I8": "i1", "U8": "u1", "BOOL": "u1", "F8_E4M3": "u1",
    "F8_E5M2": "u1",
}  # fmt: skip


def float8(exponent_bits: int) -> np.ndarray:
    """Return the values of all 256 codes of E4M3 (no infinities) or E5M2, of OCP's 8-bit formats."""
    mantissa_bits = 7 - exponent_bits
    bias = 2 ** (exponent_bits - 1) - 1
    values = np.zeros(256, dtype=np.float32)
    for code in range(256):
        exponent, mantissa = code >> mantissa_bits & (1 << exponent_bits) - 1, code & (1 << mantissa_bits) - 1
        if exponent:
            value = (1 + mantissa / 2**mantissa_bits) * 2.0 ** (exponent - bias)
        else:
            value = mantissa / 2**mantissa_bits * 2.0 ** (1 - bias)
        if exponent == (1 << exponent_bits) - 1:
            if exponent_bits == 5:
                value = math.nan if mantissa else math.inf
            elif mantissa == 7:
                value = math.nan
        values[code] = -value if code & 0x80 else value
    return values


TABLES = {"F8_E4M3": float8(4), "F8_E5M2": float8(5)}


def chunks(file: TensorFile, tensor: TensorFacts) -> Iterator[np.ndarray]:
    """Yield the values as float64, a part at a time; int8 weights times their rows' scales."""
    if tensor.problem:
        raise UserError(f"{tensor.name}: {tensor.problem}")
    if tensor.dtype not in NUMPY:
        raise UserError(f"{tensor.name}: the number format {tensor.dtype} is not known here")
    if not tensor.num_values:
        return
    kind = np.dtype(NUMPY[tensor.dtype])
    raw = np.memmap(file.path, dtype=kind, mode="r", offset=tensor.start, shape=(tensor.num_values,))
    scale = _row_scales(file, tensor)
    for start in range(0, tensor.num_values, CHUNK):
        part = raw[start : start + CHUNK]
        if tensor.dtype == "BF16":
            values = (part.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        elif tensor.dtype in TABLES:
            values = TABLES[tensor.dtype][part].astype(np.float64)
        else:
            values = part.astype(np.float64)
        if scale is not None:
            rows = np.arange(start, start + len(values)) // tensor.shape[-1]
            values *= scale[rows]
        yield values


def _row_scales(file: TensorFile, tensor: TensorFacts) -> np.ndarray | None:
    """Return the scale of each row of an int8 matrix of picochat's; None for everything else."""
    scale = file.find(f"{tensor.name.removesuffix('.weight')}.scale") if tensor.dtype == "I8" else None
    if scale is None or len(tensor.shape) != 2 or scale.num_values != tensor.shape[0]:
        return None
    return np.concatenate(list(chunks(file, scale)))


def moments(file: TensorFile, tensor: TensorFacts) -> dict[str, Any]:
    """Return counts, range, mean, standard deviation and root mean square of the finite values."""
    count = zeros = nans = infinities = 0
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for values in chunks(file, tensor):
        nans += int(np.isnan(values).sum())
        infinities += int(np.isinf(values).sum())
        finite = values[np.isfinite(values)]
        if finite.size:
            count += finite.size
            zeros += int((finite == 0).sum())
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            total += float(finite.sum())
            squares += float((finite**2).sum())
    if not count:
        return {"count": 0, "zeros": 0, "nans": nans, "infinities": infinities}
    mean, power = total / count, squares / count
    return {
        "count": count, "zeros": zeros, "nans": nans, "infinities": infinities, "min": low, "max": high,
        "mean": mean, "std": math.sqrt(max(power - mean**2, 0.0)), "rms": math.sqrt(power),
        "norm": math.sqrt(squares),
    }  # fmt: skip


def stats(path: str, name: str) -> dict[str, Any]:
    """Return the moments, quantiles (to a two-thousandth of the range) and a histogram of a tensor."""
    file = TensorFile.read(Path(path))
    tensor = file.find(name)
    if tensor is None:
        raise UserError(f"{path}: holds no tensor {name}")
    found = moments(file, tensor)
    if not found["count"]:
        return found
    low, high = found["min"], found["max"]
    counts = np.zeros(BINS, dtype=np.int64)
    for values in chunks(file, tensor):
        finite = values[np.isfinite(values)]
        place = (finite - low) / ((high - low) or 1.0) * BINS
        counts += np.bincount(np.minimum(place.astype(np.int64), BINS - 1), minlength=BINS)
    below = np.cumsum(counts) / counts.sum()
    edges = np.linspace(low, high, BINS + 1)
    return {
        **found,
        "quantiles": {str(q): float(edges[int(np.searchsorted(below, q)) + 1]) for q in QUANTILES},
        "histogram": counts.tolist(),
    }


def survey(path: str) -> Iterator[dict[str, Any]]:
    """Yield the moments of every tensor."""
    file = TensorFile.read(Path(path))
    for tensor in file.tensors:
        try:
            yield {"name": tensor.name, **moments(file, tensor)}
        except UserError as error:
            yield {"name": tensor.name, "error": str(error)}


def compare(path: str, other: str) -> Iterator[dict[str, Any]]:
    """Yield how far the tensors of `other` are from those of `path`: |b - a| / |a|, Frobenius norms."""
    first, second = TensorFile.read(Path(path)), TensorFile.read(Path(other))
    for tensor in first.tensors:
        twin = second.find(tensor.name)
        if twin is None:
            yield {"name": tensor.name, "error": "only in the first"}
        elif twin.shape != tensor.shape:
            yield {"name": tensor.name, "error": f"shape {list(tensor.shape)} and {list(twin.shape)}"}
        else:
            try:
                yield {"name": tensor.name, **difference(first, tensor, second, twin)}
            except UserError as error:
                yield {"name": tensor.name, "error": str(error)}
    names = {tensor.name for tensor in first.tensors}
    for twin in second.tensors:
        if twin.name not in names:
            yield {"name": twin.name, "error": "only in the second"}


def difference(
    first: TensorFile, tensor: TensorFacts, second: TensorFile, twin: TensorFacts
) -> dict[str, float | None]:
    """Return the relative change, the largest change of one value, and the cosine between two tensors."""
    squares_a = squares_b = squares_d = dot = largest = 0.0
    for a, b in zip(chunks(first, tensor), chunks(second, twin), strict=True):
        d = b - a
        squares_a, squares_b, squares_d = (
            squares_a + float(a @ a),
            squares_b + float(b @ b),
            squares_d + float(d @ d),
        )
        dot += float(a @ b)
        largest = max(largest, float(np.abs(d).max()))
    norms = math.sqrt(squares_a * squares_b)
    return {
        "relative": math.sqrt(squares_d / squares_a) if squares_a else 0.0 if not squares_d else None,
        "largest": largest,
        "cosine": dot / norms if norms else None,
    }


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the replies to a request."""
    match request:
        case {"op": "stats", "path": path, "name": name}:
            yield {"name": name, **stats(path, name)}
        case {"op": "survey", "path": path}:
            yield from survey(path)
        case {"op": "compare", "path": path, "other": other}:
            yield from compare(path, other)
        case _:
            yield {"error": "no such request"}


def strict(value: Any) -> Any:
    """Return a JSON value without what JSON has no word for."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    """Answer requests until the input ends, even in the middle of a long one."""
    lines: list[str] = []
    more = threading.Semaphore(0)

    def listen() -> None:
        for line in sys.stdin:
            lines.append(line)
            more.release()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        more.acquire()
        request = json.loads(lines.pop(0))
        try:
            for reply in answer(request):
                print(json.dumps({"id": request.get("id"), **strict(reply)}), flush=True)
        except (UserError, OSError, ValueError) as error:
            print(json.dumps({"id": request.get("id"), "error": str(error)}), flush=True)
        print(json.dumps({"id": request.get("id"), "done": True}), flush=True)


if __name__ == "__main__":
    main()
