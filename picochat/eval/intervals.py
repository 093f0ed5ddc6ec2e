"""Confidence intervals: how far a score measured on a few hundred problems can be trusted."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

NUM_RESAMPLES = 10_000


class Interval(NamedTuple):
    low: float
    high: float


def wilson_interval(num_right: float, num_all: int, *, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion; `num_right` may count halves.

    Unlike right/all plus or minus two standard errors it never leaves [0, 1] and is not empty at 0 or 100 %.
    Wilson 1927, doi 10.1080/01621459.1927.10502953.
    """
    assert 0 <= num_right <= num_all
    assert num_all > 0
    z = _z(confidence)
    share = num_right / num_all
    center = (share + z * z / (2 * num_all)) / (1 + z * z / num_all)
    spread = share * (1 - share) / num_all + z * z / (4 * num_all * num_all)
    half = z * math.sqrt(spread) / (1 + z * z / num_all)
    # At 0 and 100 % an end is exactly there; rounding must not put it beyond.
    return Interval(
        0.0 if num_right == 0 else center - half,
        1.0 if num_right == num_all else center + half,
    )


def paired_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the 95 % interval of mean(second) - mean(first) for scores of the same problems.

    Where every score is 0 or 1: Newcombe's, made of two Wilson intervals and the correlation (method 10 of
    doi 10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C); it is not empty where nothing
    changed. For other scores the bootstrap of the differences.
    """
    pairs = list(zip(first, second, strict=True))
    if not {*first, *second} <= {0, 1}:
        return bootstrap_interval([b - a for a, b in pairs])
    n = len(pairs)
    both, lost, won = pairs.count((1, 1)), pairs.count((1, 0)), pairs.count((0, 1))
    neither = n - both - lost - won
    p1, p2 = (both + lost) / n, (both + won) / n
    (low1, high1), (low2, high2) = wilson_interval(both + lost, n), wilson_interval(both + won, n)
    product = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    excess = both * neither - lost * won
    # Continuity correction of a positive correlation.
    phi = (max(excess - n / 2, 0) if excess > 0 else excess) / math.sqrt(product) if product else 0.0
    below = (p2 - low2) ** 2 - 2 * phi * (p2 - low2) * (high1 - p1) + (high1 - p1) ** 2
    above = (high2 - p2) ** 2 - 2 * phi * (high2 - p2) * (p1 - low1) + (p1 - low1) ** 2
    return Interval(p2 - p1 - math.sqrt(below), p2 - p1 + math.sqrt(above))


def normal_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Return the interval of a mean by the normal approximation; at least two values."""
    half = _z(confidence) * stdev(values) / math.sqrt(len(values))
    return Interval(fmean(values) - half, fmean(values) + half)


def bootstrap_interval(values: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Return the percentile bootstrap interval of a mean: values drawn again, with replacement, 10,000 times.

    For values far from normal, such as pass@k of single problems. Efron 1979, doi 10.1214/aos/1176344552.
    """
    import numpy as np

    values_N = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    rows = max(1, 10**6 // len(values_N))  # bounded memory
    means = [
        values_N[rng.integers(len(values_N), size=(min(rows, NUM_RESAMPLES - done), len(values_N)))].mean(
            axis=1
        )
        for done in range(0, NUM_RESAMPLES, rows)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(float(low), float(high))


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
