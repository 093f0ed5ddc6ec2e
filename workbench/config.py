"""The user's settings: a TOML file of theirs, and a JSON file of what was chosen in the app.

theme = "light"
colours = "viridis"

[keys]
regenerate = "ctrl+y"
help = "f1,question_mark"
"""

import os
import re
import sys
import tomllib
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from picochat.train.run_dir import read_json, write_json

FILE = "workbench.toml"
STATE = "workbench-state.json"
PRESETS = "presets.json"
MODIFIERS = {"ctrl", "alt", "shift", "super", "hyper", "meta"}
NAMED_KEYS = (
    {"up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete"}
    | {"backspace", "enter", "escape", "tab", "space"}
    | {"plus", "minus", "slash", "backslash", "underscore", "at"}
    | {re.sub("[- ]", "_", unicodedata.name(chr(code)).lower()) for code in range(0x21, 0x7F)}
)
BUILT_IN_PRESETS: dict[str, dict[str, Any]] = {
    "usual": {},
    "greedy": {"temperature": 0.0},
    "careful": {"temperature": 0.5, "top_p": 0.9},
    "lively": {"temperature": 1.1, "top_k": 0, "min_p": 0.05},
}
"""What differs from the defaults."""


def config_folder() -> Path:
    """Return the folder of this user's settings."""
    if folder := os.environ.get("PICOCHAT_CONFIG"):
        return Path(folder)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home())) / "picochat"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "picochat"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user has set."""

    theme: str = ""
    colours: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Name of an action to its keys, with commas between them."""


def read_settings(folder: Path) -> Settings:
    """Read both files; what the user wrote goes before what was chosen in the app.

    Raises UserError, in one line, for a file that is no TOML, and for names or values that mean nothing.
    """
    state = _read_state(folder)
    path = folder / FILE
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        rows = {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    keys = rows.pop("keys", {})
    if not isinstance(keys, dict) or not all(isinstance(value, str) for value in keys.values()):
        raise UserError(f'{path}: [keys] holds lines such as regenerate = "ctrl+y"')
    for name, value in rows.items():
        if name not in ("theme", "colours") or not isinstance(value, str):
            raise UserError(f"{path}: {name} is no setting; there are theme, colours (texts) and [keys]")
    return Settings(**{**state, **rows}, keys=keys)


def _read_state(folder: Path) -> dict[str, str]:
    try:
        state = read_json(folder / STATE)
    except (UserError, OSError):
        return {}
    if not isinstance(state, dict):
        return {}
    return {name: state[name] for name in ("theme", "colours") if isinstance(state.get(name), str)}


def remember(folder: Path, **chosen: str) -> None:
    """Keep what was chosen in the app. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STATE, {**_read_state(folder), **chosen})


@dataclass(frozen=True)
class Action:
    """Something that a key does."""

    scope: str
    """Where it does: a screen with its widgets, or "app" for everywhere."""
    keys: str


def check_keys(keys: Mapping[str, str], known: Mapping[str, Action]) -> None:
    """Raise UserError for an unknown action, a key that no terminal sends, or a key with two meanings.

    `known` holds every action by its name, with the keys it has without `keys`.
    """
    for name, value in keys.items():
        if name not in known:
            raise UserError(f"{FILE}: no action {name!r}; there are {', '.join(sorted(known))}")
        for key in value.split(","):
            if not is_key(key.strip()):
                raise UserError(f"{FILE}: {name}: no key {key!r}; keys are written f4, ctrl+y, plus")
    for name, value in keys.items():
        wanted = {key.strip() for key in value.split(",")}
        for other, action in known.items():
            meets = known[name].scope == action.scope or "app" in (known[name].scope, action.scope)
            shared = wanted & {key.strip() for key in keys.get(other, action.keys).split(",")}
            if other != name and meets and shared:
                raise UserError(f"{FILE}: {shared.pop()} would mean both {other} and {name}")


def is_key(key: str) -> bool:
    """Whether a key has a name that Textual gives to keys."""
    *modifiers, base = key.split("+")
    if not set(modifiers) <= MODIFIERS:
        return False
    is_function_key = re.fullmatch(r"f([1-9]|1[0-9]|2[0-4])", base) is not None
    return len(base) == 1 or base in NAMED_KEYS or is_function_key


class Presets:
    """Named sampling options: a few of ours, and the user's in a file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PRESETS

    def read(self) -> dict[str, SamplingOptions]:
        """Return all presets by name. Raises UserError for a damaged file."""
        own: Any = {}
        if self._path.exists():
            own = read_json(self._path)
        if not isinstance(own, dict) or not all(isinstance(row, dict) for row in own.values()):
            raise UserError(f"{self._path}: a preset is an object of sampling options; mend the file")
        try:
            return {name: SamplingOptions(**row) for name, row in {**BUILT_IN_PRESETS, **own}.items()}
        except (TypeError, UserError) as error:
            raise UserError(f"{self._path}: {error}") from error

    def save(self, name: str, options: Mapping[str, Any]) -> None:
        """Add a preset, or put it in the place of the one with this name. Raises UserError and OSError."""
        self._change(lambda own: own.update({name: dict(options)}))

    def delete(self, name: str) -> None:
        """Remove one of the user's presets. Raises UserError for one of ours."""
        if name not in self._own():
            raise UserError(f"{name} is built in; only presets of your own can be deleted")
        self._change(lambda own: own.pop(name))

    def _own(self) -> dict[str, Any]:
        self.read()
        return read_json(self._path) if self._path.exists() else {}

    def _change(self, change: Any) -> None:
        own = self._own()
        change(own)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, own)


def choose_known(name: str, known: Collection[str], *, what: str) -> str:
    """Return `name` if it is one of `known`. Raises UserError."""
    if name not in known:
        raise UserError(f"{FILE}: no {what} {name!r}; there are {', '.join(sorted(known))}")
    return name
