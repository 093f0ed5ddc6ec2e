"""Stop strings on streamed text: found across token borders, and no part of one is ever shown."""

from collections.abc import Sequence

from picochat.engine.events import Token

Piece = tuple[str, tuple[Token, ...]]
"""A stretch of text and the tokens it came from."""


class StopMatcher:
    """Holds text back as long as it may be the beginning of a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in stops), default=0)
        self._held: list[Piece] = []

    def push(self, text: str, tokens: tuple[Token, ...]) -> tuple[list[Piece], bool]:
        """Add text; return what may be shown now, and whether a stop string is complete.

        If one is, what is shown ends right before it, and `flush` gives what stays unseen.
        """
        if not self._stops:
            return [(text, tokens)], False
        self._held.append((text, tokens))
        held = "".join(piece for piece, _ in self._held)
        found = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            return self._release(min(found), cut=True), True
        return self._release(len(held) - self._suspicious(held), cut=False), False

    def flush(self) -> list[Piece]:
        """Return the text still held, and hold nothing."""
        held, self._held = self._held, []
        return held

    def _suspicious(self, text: str) -> int:
        """Return the length of the longest end of `text` that begins a stop string."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0

    def _release(self, length: int, *, cut: bool) -> list[Piece]:
        """Take the held pieces that lie within the first `length` characters; cut the one across if `cut`."""
        released: list[Piece] = []
        while self._held and len(self._held[0][0]) <= length:
            length -= len(self._held[0][0])
            released.append(self._held.pop(0))
        if cut and length > 0:
            text, tokens = self._held.pop(0)
            released.append((text[:length], tokens))
        return released
