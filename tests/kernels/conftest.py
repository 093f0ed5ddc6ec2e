"""What several tests of the kernels use."""

from collections.abc import Callable, Iterator

import pytest
import torch

from picochat.kernels import threads


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads until the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=["torch's", "own"])
def whose_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compiled loops run on torch's threads, then on those that they have where torch's are not GNU's."""
    if request.param == "own":
        monkeypatch.setattr(threads, "openmp", lambda: None)
    elif threads.openmp() is None:
        pytest.skip("torch's threads are not GNU's here")
    return request.param


@pytest.fixture
def num_threads(whose_threads: str, set_threads: Callable[[int], None]) -> int:
    """How many threads compiled loops run on."""
    set_threads(3)
    return 3
