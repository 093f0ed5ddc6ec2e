"""A weighted mixture of data sets: which item of which set comes next."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from picochat.errors import UserError

_DRAWS_PER_BLOCK = 1024

T_co = TypeVar("T_co", covariant=True)


class Dataset(Protocol[T_co]):
    """A random-access sequence of items."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> T_co: ...


class Draw(NamedTuple):
    dataset: int
    item: int


class Mixture(Generic[T_co]):
    """Endless draws from several data sets; a weight is a set's share of the draws, whatever its size.

    Each set is gone through in its own shuffled order, and in a new one when it is used up. The position is
    one counter per set: what is drawn depends on nothing but the seed and them.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset[T_co]],
        weights: Sequence[float],
        seed: int,
        *,
        fingerprints: Sequence[str] = (),
    ) -> None:
        """weights: one per data set, not negative, at least one above 0; they need not sum to 1.
        fingerprints: what tells the data sets from others of the same sizes, for a resume to compare.

        Raises:
            UserError: no data set, an empty one, or weights that are none.
        """
        assert len(datasets) == len(weights)
        if not datasets:
            raise UserError("no data set given; name at least one with --data")
        for number, (dataset, weight) in enumerate(zip(datasets, weights, strict=True), start=1):
            check_weight(weight, f"data set {number}")
            if len(dataset) == 0:
                raise UserError(
                    f"data set {number} of {len(datasets)} is empty; give one with at least one row"
                )
        if sum(weights) == 0:
            raise UserError("all data sets have weight 0; give at least one a weight above 0")
        self.datasets = datasets
        self.seed = seed
        self.fingerprints = list(fingerprints)
        self._cumulative = np.cumsum(weights) / np.sum(weights)
        self._used = [0] * len(datasets)
        # Derived from the counters, but serve many draws: (epoch, order) by set, and (block, numbers).
        self._orders: dict[int, tuple[int, np.ndarray]] = {}
        self._numbers: tuple[int, np.ndarray] = (-1, np.empty(0))

    @property
    def num_draws(self) -> int:
        return sum(self._used)

    @property
    def epochs(self) -> list[float]:
        """Passes made over each data set, with fractions."""
        return [used / len(dataset) for used, dataset in zip(self._used, self.datasets, strict=True)]

    def draw(self) -> Draw:
        """Return the next (data set, item), both as indices, and go on."""
        # `right`: a set of weight 0 has an empty interval and is never met.
        dataset = int(np.searchsorted(self._cumulative, self._random_number(), side="right"))
        epoch, place = divmod(self._used[dataset], len(self.datasets[dataset]))
        self._used[dataset] += 1
        return Draw(dataset, int(self._order(dataset, epoch)[place]))

    def get(self, draw: Draw) -> T_co:
        """Return the item of a draw."""
        return self.datasets[draw.dataset][draw.item]

    def state_dict(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "used": list(self._used),
            "sizes": self._sizes(),
            "fingerprints": self.fingerprints,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position.

        Raises:
            UserError: the data sets or the seed are not those it was saved with.
        """
        if state["sizes"] != self._sizes():
            raise UserError(
                f"the data sets have {self._sizes()} rows, but the run began with {state['sizes']};"
                " give the same --data in the same order, or start a new run with --load"
            )
        # A run that was saved by an older picochat has none.
        if state.get("fingerprints", self.fingerprints) != self.fingerprints:
            raise UserError(
                "the training data is not what this run began with, though as many rows; give the same files,"
                " or start a new run with --load"
            )
        if state["seed"] != self.seed:
            raise UserError(
                f"the run began with --seed {state['seed']}, not {self.seed}; resume it with the same"
            )
        self._used = list(state["used"])

    def _sizes(self) -> list[int]:
        return [len(dataset) for dataset in self.datasets]

    def _random_number(self) -> float:
        block, place = divmod(self.num_draws, _DRAWS_PER_BLOCK)
        if self._numbers[0] != block:
            self._numbers = (block, _generator(self.seed, 0, block).random(_DRAWS_PER_BLOCK))
        return float(self._numbers[1][place])

    def _order(self, dataset: int, epoch: int) -> np.ndarray:
        if dataset not in self._orders or self._orders[dataset][0] != epoch:
            generator = _generator(self.seed, 1 + dataset, epoch)
            self._orders[dataset] = (epoch, generator.permutation(len(self.datasets[dataset])))
        return self._orders[dataset][1]


class Subset(Generic[T_co]):
    """Some items of a data set, in a given order."""

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> T_co:
        return self.dataset[int(self.indices[index])]


def train_validation_split(
    dataset: Dataset[T_co], *, fraction: float, seed: int
) -> tuple[Subset[T_co], Subset[T_co]]:
    """Split by seed into a training and a validation part, disjoint and together the whole.

    fraction: share of the validation part, in (0, 1); it gets at least one item, and so does the other.

    Raises:
        UserError: there are fewer than two items, or `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise UserError(f"validation fraction {fraction}: give a share between 0 and 1, e.g. 0.05")
    if len(dataset) < 2:
        raise UserError(f"{len(dataset)} row can not be split for validation; give more, or a validation set")
    num_validation = min(max(1, round(fraction * len(dataset))), len(dataset) - 1)
    order = np.random.Generator(np.random.PCG64([seed, len(dataset)])).permutation(len(dataset))
    return Subset(dataset, np.sort(order[num_validation:])), Subset(dataset, np.sort(order[:num_validation]))


def parse_weighted_path(text: str) -> tuple[Path, float]:
    """Parse `PATH` or `PATH:WEIGHT`, as in `chat.jsonl:0.5`; without a weight it is 1.

    Only what follows the last colon, and only if it is a number, is a weight: `C:\\chat.jsonl` is a path.

    Raises:
        UserError: no path, or a weight that is negative or not finite.
    """
    head, colon, tail = text.rpartition(":")
    try:
        path, weight = (head, float(tail)) if colon else (text, 1.0)
    except ValueError:
        path, weight = text, 1.0
    if not path:
        raise UserError(f"{text!r}: no path before the weight; write it as PATH:WEIGHT")
    check_weight(weight, text)
    return Path(path), weight


def check_weight(weight: float, where: str) -> None:
    """Raise a `UserError` unless `weight` is finite and not negative."""
    if not math.isfinite(weight) or weight < 0:
        raise UserError(f"{where}: weight {weight} is not a share; give 0 or a number above it")


def _generator(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(list(seed)))
