"""Fill a dataclass of options from the command line, with one-line complaints."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import NoReturn, TypeVar, get_origin, get_type_hints

from picochat.errors import UserError

Options = TypeVar("Options")


def parse_options(options_class: type[Options], *, prog: str, args: Sequence[str], summary: str) -> Options:
    """Return the options that `args` ask for; `--help` prints and exits.

    A class with a class method `defaults(args)` is asked for an object whose values stand in for those of its
    fields, for instance the options of a run that is resumed. Raises UserError for anything else.
    """
    find_defaults = getattr(options_class, "defaults", None)
    if not args and find_defaults is None and _needs_nothing(options_class):
        # Reading the command line takes longer than opening the terminal app.
        return options_class()
    import tyro

    default = None if find_defaults is None else find_defaults(args)
    complaints = io.StringIO()
    try:
        # tyro draws a box of ten lines on stderr; the one that matters is taken from it.
        with contextlib.redirect_stderr(complaints):
            return tyro.cli(
                options_class,
                prog=prog,
                description=f"{summary[:1].upper()}{summary[1:]}.",
                args=gather(args, _repeatable(options_class)),
                config=(tyro.conf.OmitArgPrefixes,),
                **({} if default is None else {"default": default}),
            )
    except SystemExit as end:
        if end.code:
            _complain(end, complaints.getvalue(), prog)
        raise


def gather(args: Sequence[str], repeatable: Iterable[str]) -> list[str]:
    """Return `args` with the values of each repeated option behind one use of it.

    >>> gather(["--data", "a", "--steps", "9", "--data=b"], ["--data"])
    ['--steps', '9', '--data', 'a', 'b']
    """
    options = set(repeatable)
    chunks: list[list[str]] = [[]]
    chunk_of: dict[str, list[str]] = {}
    for arg in args:
        name, is_joined, value = arg.partition("=")
        name = name.replace("_", "-")
        if name not in options:
            if arg.startswith("--"):
                chunks.append([])
            chunks[-1].append(arg)
            continue
        if name not in chunk_of:
            chunk_of[name] = [name]
        else:
            chunks.remove(chunk_of[name])
        # The chunk moves to the end, where the values that follow are added to it.
        chunks.append(chunk_of[name])
        if is_joined:
            chunks[-1].append(value)
            chunks.append([])
    return [arg for chunk in chunks for arg in chunk]


def _needs_nothing(options_class: type) -> bool:
    """Whether every option has a default."""
    return all(
        field.default is not MISSING or field.default_factory is not MISSING
        for field in fields(options_class)
    )


def _repeatable(options_class: type) -> list[str]:
    """Return the options that take several values."""
    types = get_type_hints(options_class)
    return [
        f"--{field.name.replace('_', '-')}"
        for field in fields(options_class)
        if get_origin(types[field.name]) is tuple
    ]


def _complain(end: SystemExit, box: str, prog: str) -> NoReturn:
    """Raise the complaint that tyro ended with as a UserError."""
    if isinstance(end.__context__, UserError):
        raise end.__context__ from None
    # The first line of the box holds a title, lines without a word are rules that part its sections.
    lines = [line.strip("│| ") if any(map(str.isalnum, line)) else "" for line in box.splitlines()[1:]]
    message, _, rest = "\n".join(lines).strip().partition("\n\n")
    near = [word for word in rest.split() if word.startswith("--")]
    hint = f"; did you mean {near[0]}?" if "Perhaps you meant" in rest and near else ""
    raise UserError(f"{' '.join(message.split()).rstrip('.')}{hint} (see `{prog} --help`)") from None
