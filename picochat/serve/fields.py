"""Reads the fields of a JSON object one by one; whatever is wrong is an `ApiError` that names the field."""

import json
from typing import Any, NoReturn

from picochat.serve.errors import ApiError, invalid


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. NaN and infinities, which JSON does not know, are refused."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ApiError(400, "invalid_json", "the body is nested too deeply") from error
    except ValueError as error:
        raise ApiError(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "the body is not a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


class Fields:
    """The fields of a request; each is taken once, and none may be left at the end. `null` is "left out"."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields
        self._left = set(fields)

    def take(self, name: str) -> Any:
        """Return a field as it is, None if it is missing."""
        self._left.discard(name)
        return self._fields.get(name)

    def boolean(self, name: str) -> bool:
        """Return a boolean, False if missing."""
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(name, f"{name} must be true or false")
        return bool(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Return a whole number in [low, high]."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise invalid(name, f"{name} must be a whole number from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """Return a number in [low, high]."""
        value = self.take(name)
        if value is None:
            return None
        # Written so that NaN and infinity (1e999) fail too.
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise invalid(name, f"{name} must be a number from {low:g} to {high:g}")
        return float(value)

    def string(self, name: str, max_length: int) -> str | None:
        """Return a string of at most `max_length` characters."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > max_length:
            raise invalid(name, f"{name} must be a string of at most {max_length} characters")
        return value

    def strings(self, name: str, max_count: int, max_length: int) -> tuple[str, ...]:
        """Return a string or a list of strings, each with 1 to `max_length` characters, as a tuple."""
        value = self.take(name)
        values = [] if value is None else [value] if isinstance(value, str) else value
        is_list = isinstance(values, list) and len(values) <= max_count
        if not is_list or not all(isinstance(v, str) and 1 <= len(v) <= max_length for v in values):
            what = f"a string or a list of at most {max_count} strings, each of 1 to {max_length} characters"
            raise invalid(name, f"{name} must be {what}")
        return tuple(values)

    def expect(self, name: str, *allowed: Any) -> None:
        """Refuse a field whose value is neither null nor one of `allowed`."""
        value = self.take(name)
        # `False == 0` in Python, but not for a client.
        if value is not None and not any(
            value == other and _kind(value) is _kind(other) for other in allowed
        ):
            known = " or ".join(json.dumps(other) for other in allowed) or "null"
            raise ApiError(400, "unsupported_value", f"{name} is supported as {known} only", param=name)

    def ignore(self, *names: str) -> None:
        """Accept fields that change nothing."""
        self._left.difference_update(names)

    def finish(self) -> None:
        """Refuse the fields that nobody asked for."""
        if self._left:
            name = min(self._left)[:64]
            message = f"there is no field {name!r}; docs/server.md lists them"
            raise ApiError(400, "unknown_field", message, param=name)


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
