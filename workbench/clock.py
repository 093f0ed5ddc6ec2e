"""The time of day, asked in one place so that a test can stop it."""

import time


def now() -> float:
    """Return the seconds since the epoch."""
    return time.time()
