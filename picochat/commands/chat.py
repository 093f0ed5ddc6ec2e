"""`picochat chat`: talk with a model in the terminal, or complete a text."""

import contextlib
import io
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from picochat.engine.options import SamplingOptions
from picochat.errors import UserError

if TYPE_CHECKING:
    from picochat.commands.chat_view import View
    from picochat.engine.generate import Engine, Generation
    from picochat.engine.session import ChatSession

HELP = """\
/system TEXT    set the system prompt (without text: remove it)
/clear          forget the conversation
/regenerate     answer the last question once more
/save FILE      add the conversation to a .jsonl file for SFT, or write it as .md
/quit           leave (so does Ctrl-D); Ctrl-C stops an answer
/NAME VALUE     change an option, show it without a value: {names}
Anything else is said to the model; a first / is doubled."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Talk with a model."""

    load: str
    """Run (newest checkpoint), NAME@500, NAME@best, or the folder of a checkpoint."""
    prompt: str | None = None
    """Ask this one thing, print the answer and leave."""
    complete: bool = False
    """Go on with the raw text of --prompt instead of chatting: for models that only know plain text."""
    system: str = ""
    """System prompt."""
    runs_dir: str = "runs"
    """Folder that holds the runs."""
    plain: bool = False
    """Plain lines, without colours and without moving the cursor: for screen readers."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    dtype: str = "auto"
    """Number format of the weights: auto, float32 or bfloat16."""
    sampling: Annotated[SamplingOptions, tyro.conf.arg(name="")] = field(default_factory=SamplingOptions)
    """How tokens are chosen."""

    def execute(self) -> None:
        """Load the model and talk."""
        if self.complete and self.prompt is None:
            raise UserError("--complete needs the text to go on with: give it as --prompt")
        from picochat.commands.chat_view import PlainView, TerminalView
        from picochat.engine.generate import Engine
        from picochat.engine.session import ChatSession
        from picochat.train.load import load

        model, tokenizer = load(self.load, device=self.device, dtype=self.dtype, runs_dir=self.runs_dir)
        engine = Engine(model, tokenizer)
        view = TerminalView() if sys.stdout.isatty() and not self.plain else PlainView()
        if self.complete:
            self._complete(engine, view)
            return
        session = ChatSession(engine, options=self.sampling, system=self.system)
        if self.prompt is not None:
            show(session.send(self.prompt), view)
            return
        if sys.stdin.isatty():
            view.say(f"{self.load}: {engine.context} tokens of context. /help lists the commands.")
            if _is_base_model(self.load, self.runs_dir):
                view.say(
                    "It has read texts but no conversations yet: --complete --prompt TEXT suits it better."
                )
        Repl(session, view).run(read_lines(view, edits=not self.plain))

    def _complete(self, engine: "Engine", view: "View") -> None:
        from picochat.engine.events import TextDelta

        assert self.prompt is not None
        tokenizer = engine.tokenizer
        prompt_ids = [tokenizer.special["<|bos|>"], *tokenizer.encode(self.prompt)]
        generation = engine.generate(prompt_ids, self.sampling)
        view.show(TextDelta(self.prompt))
        show(generation, view)


def _is_base_model(load: str, runs_dir: str) -> bool:
    """Whether `load` names a run that was only pretrained."""
    from picochat.train.run_dir import resolve_checkpoint, run_of

    run = run_of(resolve_checkpoint(load, Path(runs_dir)))
    return run is not None and run.info()["stage"] == "pretrain"


def show(generation: "Generation", view: "View") -> None:
    """Show an answer while it is written. Ctrl-C stops it and keeps what there is; a second one leaves."""

    def stop(signum: int, frame: object) -> None:
        generation.cancel()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        for event in generation:
            view.show(event)
    finally:
        signal.signal(signal.SIGINT, before)


def read_lines(view: "View", *, edits: bool = True) -> Iterator[str]:
    """Yield what the user types, or the lines of a pipe. Ctrl-C twice in a row ends it, as Ctrl-D does.

    `edits`: a line may be edited, which moves the cursor, and lines before it called back.
    Bytes that are no text in the encoding of the terminal become U+FFFD.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if not sys.stdin.isatty():
        for line in sys.stdin:
            yield line.rstrip("\r\n")
        return
    if edits:
        with contextlib.suppress(ImportError):  # where the system has it
            import readline  # noqa: F401
    interrupted = False
    while True:
        try:
            line = input("> ")
        except EOFError:
            view.say("")
            return
        except KeyboardInterrupt:
            if interrupted:
                view.say("")
                return
            interrupted = True
            view.say("\n(Ctrl-C again, Ctrl-D or /quit leaves)")
            continue
        interrupted = False
        yield line


class Repl:
    """Runs the lines a user types: questions and /commands."""

    def __init__(self, session: "ChatSession", view: "View") -> None:
        self.session = session
        self.view = view

    def run(self, lines: Iterator[str]) -> None:
        """Go through all lines. A mistake in one is told, and the conversation goes on."""
        for line in lines:
            try:
                if not self.handle(line):
                    return
            except (UserError, OSError) as error:
                self.view.say(f"error: {error}")

    def handle(self, line: str) -> bool:
        """Run one line; return whether to go on."""
        if not line.strip():
            return True
        if not line.startswith("/") or line.startswith("//"):
            show(self.session.send(line.removeprefix("/")), self.view)
            return True
        name, _, value = line[1:].strip().partition(" ")
        value = value.strip()
        option = name.replace("-", "_")
        match name:
            case "quit" | "exit":
                return False
            case "help":
                names = ", ".join(field.name for field in fields(SamplingOptions))
                self.view.say(HELP.format(names=names))
            case "clear":
                self.session.clear()
            case "regenerate":
                show(self.session.regenerate(), self.view)
            case "save":
                self._save(value)
            case "system":
                self.session.system = value
            case _ if option in {field.name for field in fields(SamplingOptions)}:
                self._set(option, value)
            case _:
                raise UserError(f"no command /{name}; /help lists them")
        return True

    def _save(self, path: str) -> None:
        if not path:
            raise UserError("/save needs a file name that ends in .jsonl or .md")
        self.session.save(path)
        self.view.say(f"saved to {path}")

    def _set(self, name: str, value: str) -> None:
        if value:
            self.session.options = replace(self.session.options, **{name: parse_option(name, value)})
        self.view.say(f"{name} {getattr(self.session.options, name)}")


def parse_option(name: str, value: str) -> Any:
    """Return the value of a sampling option as it is typed; "none" is none, stop strings are separated by
    spaces."""
    if name == "stop":
        return () if value == "none" else tuple(value.split())
    if name in ("seed", "thinking_budget") and value == "none":
        return None
    kind = float if name in ("temperature", "top_p", "min_p", "repetition_penalty") else int
    try:
        return kind(value)
    except ValueError as error:
        raise UserError(f"/{name} takes a {'whole ' if kind is int else ''}number, not {value!r}") from error
