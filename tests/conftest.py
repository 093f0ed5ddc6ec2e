"""What every test runs under: one thread, a cache of its own, no network but loopback."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

# Before torch is imported: tests are tiny, and several threads only make them slower and less exact.
os.environ["OMP_NUM_THREADS"] = "1"

# A machine that does other things is no failure.
hypothesis.settings.register_profile("picochat", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "picochat")

TESTS_BESIDE_CORES = 2
"""Tests that run at once beyond one a core: many wait, for a clock or a process, half of their time."""

LOOPBACK = ("127.", "::1", "localhost")

pytest_plugins = ["tests.chromium", "tests.notebooks.browser"]


def pytest_xdist_auto_num_workers() -> int:
    """How many tests `pytest -n auto` runs at once."""
    return (os.cpu_count() or 1) + TESTS_BESIDE_CORES


def is_near(host: Any) -> bool:
    """Whether a host is this machine, or an address, which nobody has to be asked for."""
    name = host.decode() if isinstance(host, bytes) else host or "localhost"
    return name in ("localhost", socket.gethostname()) or name.replace(".", "").isdecimal() or ":" in name


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests out of the user's cache and off the network."""
    getaddrinfo = socket.getaddrinfo

    def to_loopback(method: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(self: socket.socket, *args: Any) -> Any:
            # The address comes last, whatever is sent to it.
            address = args[-1]
            is_internet = self.family in (socket.AF_INET, socket.AF_INET6)
            if is_internet and not str(address[0]).startswith(LOOPBACK):
                raise PermissionError(f"a test connects to {address[0]}; only loopback is allowed")
            return method(self, *args)

        return guarded

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        if not is_near(host):
            raise socket.gaierror(socket.EAI_NONAME, f"a test asks for {host}; only loopback is allowed")
        return getaddrinfo(host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICOCHAT_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, to_loopback(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", look_up)
        yield
