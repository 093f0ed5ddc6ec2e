"""What speed costs in quality: the same pretraining with the fast kernels and plainly, over several seeds.

`python -m tests.bench.quality` prints bits per byte of both at equal tokens, on the built-in world or on
the files of `--data` and `--val-data`.
"""

import contextlib
import io
import sys
import tempfile
from dataclasses import dataclass
from statistics import mean

import tyro

import picochat

LIMIT = 0.003
"""Largest share by which the fast kernels may be worse."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare final validation bits per byte."""

    steps: int = 200
    seeds: int = 3
    depth: int = 4
    batch_size: int = 8
    seq_len: int = 128
    vocab_size: int = 1024
    data: tuple[str, ...] = ()
    val_data: tuple[str, ...] = ()


def final_bpb(options: Options, kernels: str, seed: int) -> float:
    """Return the bits per byte at the end of one run."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run = picochat.pretrain(
            runs_dir=folder,
            run=f"{kernels}-{seed}",
            kernels=kernels,
            seed=seed,
            steps=options.steps,
            depth=options.depth,
            batch_size=options.batch_size,
            seq_len=options.seq_len,
            vocab_size=options.vocab_size,
            data=options.data,
            val_data=options.val_data,
            eval_every=0,
            sample_every=0,
            save_every=0,
        )
        rows = [event.row() for event in run]
    return [row["metrics"]["bpb"] for row in rows if "bpb" in row.get("metrics", {})][-1]


def main() -> int:
    """Return 1 where the mean is worse by more than the limit."""
    options = tyro.cli(Options, description=__doc__)
    results = {"auto": [], "plain": []}
    for seed in range(options.seeds):
        for kernels, values in results.items():
            values.append(final_bpb(options, kernels, seed))
        print(
            f"seed {seed}: auto {results['auto'][-1]:.5f}, plain {results['plain'][-1]:.5f} bpb", flush=True
        )
    change = mean(results["auto"]) / mean(results["plain"]) - 1
    print(f"auto against plain: {100 * change:+.3f} % bpb (limit {100 * LIMIT:g} %)")
    return int(change > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
