"""Work out, on paper, how long a training takes on several GPUs: `python docs/scaling/estimate.py`.

Nothing is run. The time of a step is arithmetic at an assumed share of the peak, plus what the ranks tell
each other, which is not overlapped: every rank sums its gradients into their owners and gets the new weights
back.
"""

from dataclasses import dataclass

from picochat.model.config import ModelConfig

SEQ_LEN = 2048
TOKENS_PER_STEP = 524_288
TOKENS_PER_WEIGHT = 20
"""Training tokens per weight of the matrices (Hoffmann et al. 2022, arXiv 2203.15556)."""
GPUS_PER_NODE = 8


@dataclass(frozen=True, kw_only=True)
class Device:
    """A kind of GPU and its links; rates a second, one direction."""

    peak_flops: float = 989e12
    """bfloat16, dense: an H100 SXM."""
    mfu: float = 0.40
    """Share of the peak that the arithmetic is assumed to reach."""
    node_bytes: float = 350e9
    """Between GPUs of a node: NVLink 4, 450 GB/s nominal."""
    network_bytes: float = 40e9
    """Per GPU between nodes: 400 Gb/s InfiniBand, 50 GB/s nominal."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a training of one depth on some GPUs would take."""

    gpus: int
    compute_seconds: float
    link_seconds: float
    gigabytes: float
    """Per GPU: weights, gradients, moments; activations come on top."""
    hours: float

    @property
    def tokens_per_second(self) -> float:
        """Over all GPUs."""
        return TOKENS_PER_STEP / (self.compute_seconds + self.link_seconds)

    @property
    def efficiency(self) -> float:
        """Share of the time that is arithmetic."""
        return self.compute_seconds / (self.compute_seconds + self.link_seconds)


def estimate(depth: int, gpus: int, device: Device | None = None, *, shard: bool = False) -> Estimate:
    """Return the estimate for a model of `depth` with the default vocabulary."""
    device = device or Device()
    config = ModelConfig.from_depth(depth, sequence_len=SEQ_LEN)
    weights = config.num_parameters()
    flops = config.flops_per_token(SEQ_LEN)
    compute = flops * TOKENS_PER_STEP / (device.peak_flops * device.mfu * gpus)
    # A ring passes (n - 1) / n of the 4-byte numbers: gradients to owners, weights back. Sharded blocks are
    # gathered once more, for the backward pass.
    passes = 3 if shard else 2
    link = device.network_bytes if gpus > GPUS_PER_NODE else device.node_bytes
    seconds = passes * 4 * weights * (gpus - 1) / gpus / link if gpus > 1 else 0.0
    # Two moments of AdamW; Muon keeps one, which is not taken off here.
    moments = 8 * weights / gpus
    held = (8 / gpus if shard else 8) * weights
    tokens = TOKENS_PER_WEIGHT * (flops / 6)
    steps = tokens / TOKENS_PER_STEP
    return Estimate(
        gpus=gpus,
        compute_seconds=compute,
        link_seconds=seconds,
        gigabytes=(held + moments) / 1e9,
        hours=steps * (compute + seconds) / 3600,
    )


def main() -> None:
    """Print the table of docs/scaling.md."""
    headings = ("depth", "weights", "GPUs", "s/step: sums + links", "sums", "tokens/s", "GB per GPU", "hours")
    print(f"| {' | '.join(headings)} |")
    print("|---" * len(headings) + "|")
    for depth in (12, 16, 20, 24, 26):
        weights = ModelConfig.from_depth(depth, sequence_len=SEQ_LEN).num_parameters()
        for gpus in (1, 8, 64):
            e = estimate(depth, gpus)
            cells = (
                depth,
                f"{weights / 1e6:,.0f} M",
                gpus,
                f"{e.compute_seconds:.2f} + {e.link_seconds:.3f}",
                f"{e.efficiency:.0%}",
                f"{e.tokens_per_second:,.0f}",
                f"{e.gigabytes:.1f}",
                f"{e.hours:.1f}",
            )
            print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
