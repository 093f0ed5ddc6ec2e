"""What every test runs under: one thread, a cache of its own, no network but loopback."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

# Before torch is imported: tests are tiny, and several threads only make them slower and less exact.
os.environ["OMP_NUM_THREADS"] = "1"

# A machine that does other things is no failure.
hypothesis.settings.register_profile("picochat", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "picochat")

LOOPBACK = ("127.", "::1", "localhost")

pytest_plugins = ["tests.chromium", "tests.notebooks.browser"]


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests out of the user's cache and off the network."""
    connect = socket.socket.connect

    def connect_to_loopback(self: socket.socket, address: Any) -> None:
        is_internet = self.family in (socket.AF_INET, socket.AF_INET6)
        if is_internet and not str(address[0]).startswith(LOOPBACK):
            raise PermissionError(f"a test connects to {address[0]}; only loopback is allowed")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICOCHAT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(socket.socket, "connect", connect_to_loopback)
        yield
