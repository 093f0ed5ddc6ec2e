"""Two checkpoints side by side: one prompt, one seed, two processes that write at the same time."""

import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, Label, Static

from picochat.commands.runs_view import short_count
from picochat.engine.options import SamplingOptions
from picochat.engine.protocol import Failed, Finished, Generate, Load, Loaded, TokenInfo, Tokens
from picochat.errors import UserError
from workbench.engine_client import Crashed, EngineClient
from workbench.runs import Scanner
from workbench.screens.dialogs import Choose
from workbench.visible import visible
from workbench.widgets.footer import Footer
from workbench.widgets.inputs import LineInput
from workbench.widgets.side_text import SideText, find_parting, mark
from workbench.widgets.strip import ModeStrip

if TYPE_CHECKING:
    from workbench.app import Workbench

FRAME_SECONDS = 1 / 20
OPTIONS = {"temperature": "0.8", "top_k": "50", "max_tokens": "128", "seed": ""}
LABELS = {"temperature": "temperature", "top_k": "top-k", "max_tokens": "tokens", "seed": "seed"}
SIDES = ("A", "B")
MOST_ALTERNATIVES = 5


class SideHead(Static, can_focus=True):
    """The name of a side's checkpoint; enter or a click chooses another."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", "Choose a checkpoint")]

    def action_choose(self) -> None:
        """Ask for a checkpoint."""
        screen = self.screen
        assert isinstance(screen, CompareScreen)
        screen.action_choose(0 if self.id == "head0" else 1)

    def on_click(self) -> None:
        self.action_choose()


@dataclass
class Side:
    """A checkpoint and its process."""

    client: EngineClient
    name: str = ""
    loaded: Loaded | None = None
    note: str = "no checkpoint: enter chooses one"
    is_bad: bool = False
    running: int | None = None
    """Id of the generation that is being written."""
    finished: Finished | None = None


class CompareScreen(Screen[None]):
    """Prompt and options above, the two answers side by side, the tokens at the cursor below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop / back", id="compare-stop"),
        Binding("ctrl+t", "mode", "Chat or raw text", priority=True, id="compare-mode"),
        Binding("f6", "colours", "Probabilities", priority=True, id="compare-colours"),
        Binding("f7", "parting", "Where they part", id="compare-parting"),
        Binding("f8", "swap", "Swap", show=False, id="compare-swap"),
        Binding("f9", "choose(0)", "Choose A", id="compare-a"),
        Binding("f10", "choose(1)", "Choose B", id="compare-b"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[Side] = []
        self.is_raw = False
        self.is_coloured = False
        self.cursor: int | None = None
        self._is_new = False

    @property
    def workbench(self) -> "Workbench":
        """The app."""
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield ModeStrip("compare")
        yield LineInput(placeholder="a prompt for both; enter asks", id="prompt", compact=True)
        with Horizontal(id="options"):
            for name, value in OPTIONS.items():
                yield Label(LABELS[name])
                placeholder = "random" if name == "seed" else ""
                yield LineInput(value, placeholder=placeholder, id=f"option-{name}", compact=True)
            yield Static(id="mode")
        with Horizontal(id="sides"):
            for number in range(2):
                with Vertical(classes="side"):
                    yield SideHead(id=f"head{number}")
                    with VerticalScroll(classes="side-scroll", can_focus=False):
                        yield SideText(id=f"text{number}")
        yield Static(id="tokens")
        yield Footer()

    def on_mount(self) -> None:
        self.sides = [Side(self.workbench.client.twin()) for _ in SIDES]
        self.query_one("#prompt", Input).focus()
        self._draw_heads()
        self._draw_tokens()
        self.set_interval(FRAME_SECONDS, self._flush)

    async def on_unmount(self) -> None:
        for side in self.sides:
            await side.client.close()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_heads)
        self.call_after_refresh(self._draw_tokens)

    # Checkpoints

    def open(self, first: str, second: str) -> None:
        """Load these checkpoints; an empty name keeps what a side has."""
        for number, name in enumerate((first, second)):
            if name and name != self.sides[number].name:
                self._load(number, name)
        if not second and not self.sides[1].name:
            self.action_choose(1)

    def _load(self, number: int, name: str) -> None:
        self.run_worker(self._load_side(self.sides[number], name), group=f"load{number}", exclusive=True)

    async def _load_side(self, side: Side, name: str) -> None:
        app = self.workbench
        side.name, side.loaded, side.note, side.is_bad = name, None, "loading …", False
        self._draw_heads()
        request = Load(
            id=side.client.new_id(),
            path=name,
            runs_dir=str(app.runs_dir),
            device=app._device,
            dtype=app._dtype,
        )
        reply = await side.client.ask(request)
        if isinstance(reply, Loaded):
            side.loaded = reply
            side.note = f"{short_count(reply.num_parameters)} parameters, {reply.dtype} on {reply.device}"
        else:
            self._tell_end(side, reply)
        self._draw_heads()

    def _tell_end(self, side: Side, reply: Any) -> None:
        """Show why a side has nothing to say."""
        side.is_bad = True
        if isinstance(reply, Failed):
            side.note = reply.message
        elif isinstance(reply, Crashed):
            side.loaded = None
            said = " ".join(reply.lines[-2:])
            side.note = f"its process ended with code {reply.code}: {said}; enter loads it again"

    def _names(self, words: str) -> list[tuple[str, str]]:
        found = []
        for facts in Scanner(self.workbench.runs_dir).scan():
            if facts.kind == "weights":
                found.append((str(facts.path), f"{facts.name}  (weights)"))
            for checkpoint in reversed(facts.checkpoints):
                if checkpoint.is_complete:
                    score = "" if checkpoint.score is None else f"  {checkpoint.score:.4f}"
                    name = f"{facts.name}@{checkpoint.step}"
                    found.append((name, f"{name}  {facts.stage}{score}"))
        return [(id, name) for id, name in found if all(word in name for word in words.split())]

    @work
    async def action_choose(self, number: int) -> None:
        """Ask for the checkpoint of a side."""
        name = await self.app.push_screen_wait(Choose(f"checkpoint for side {SIDES[number]}", self._names))
        if name:
            self._load(number, name)

    def action_swap(self) -> None:
        """Put A where B is."""
        self.sides.reverse()
        first, second = self.query(SideText)
        first.tokens, second.tokens = second.tokens, first.tokens
        self._mark()
        self._draw_heads()

    # Asking

    def on_input_submitted(self) -> None:
        self._ask()

    def _options(self) -> dict[str, Any]:
        """Return the options; both sides get the same seed. Raises UserError."""
        options: dict[str, Any] = {}
        for name in OPTIONS:
            text = self.query_one(f"#option-{name}", Input).value.strip()
            try:
                if text:
                    options[name] = float(text) if name == "temperature" else int(text)
            except ValueError as error:
                raise UserError(f"{LABELS[name]} has to be a number, not {text!r}") from error
        options.setdefault("seed", random.randrange(2**31))
        SamplingOptions(**options)
        return options

    def _ask(self) -> None:
        prompt = self.query_one("#prompt", Input).value
        ready = [side for side in self.sides if side.loaded is not None]
        if not prompt or not ready or any(side.running is not None for side in self.sides):
            if not ready:
                self.notify("no checkpoint is loaded yet: choose one for each side", severity="warning")
            return
        try:
            options = self._options()
        except UserError as error:
            self.notify(visible(str(error)), severity="warning", markup=False)
            return
        self.cursor = None
        for number, side in enumerate(self.sides):
            text = self.query_one(f"#text{number}", SideText)
            text.tokens, text.cursor, side.finished = [], None, None
            if side.loaded is None:
                continue
            said: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
            if self.is_raw:
                said = {"text": prompt}
            side.running = side.client.new_id()
            request = Generate(id=side.running, options=options, num_alternatives=MOST_ALTERNATIVES, **said)
            self.run_worker(self._write(side, text, request), group=f"write{number}")
        self._is_new = True

    async def _write(self, side: Side, text: SideText, request: Generate) -> None:
        began = time.monotonic()
        tokens = text.tokens
        try:
            async for reply in side.client.stream(request):
                if isinstance(reply, Tokens):
                    tokens += reply.tokens
                    seconds = max(time.monotonic() - began, 1e-3)
                    side.note, side.is_bad = f"{len(tokens)} tokens, {len(tokens) / seconds:.0f} tok/s", False
                elif isinstance(reply, Finished):
                    side.finished = reply
                    side.note = _told(reply, tokens)
                else:
                    self._tell_end(side, reply)
                self._is_new = True
        finally:
            side.running = None
            self._is_new = True

    def action_stop(self) -> None:
        """Stop both sides, or go back if nothing is being written."""
        running = [side for side in self.sides if side.running is not None]
        for side in running:
            assert side.running is not None
            side.client.cancel(side.running)
        if not running:
            self.app.switch_mode("checkpoints")

    # What is shown

    def _flush(self) -> None:
        """Draw what came since the last frame."""
        if self._is_new and self.is_current:
            self._is_new = False
            self._mark()
            self._draw_heads()

    def _mark(self) -> None:
        first, second = self.query(SideText)
        is_over = all(side.running is None for side in self.sides)
        both = bool(first.tokens and second.tokens)
        parting = find_parting(first.tokens, second.tokens, is_over=is_over) if both else None
        first.marks, second.marks = mark(first.tokens, second.tokens, is_over=is_over) if both else ([], [])
        for text in (first, second):
            text.parting, text.cursor, text.is_coloured = parting, self.cursor, self.is_coloured
            text.draw()
        for scroll in self.query(".side-scroll"):
            if self.cursor is None:
                scroll.scroll_end(animate=False)
        self._draw_tokens()

    def _draw_heads(self) -> None:
        if not self.display or not self.query(SideHead):
            return  # The app is ending, or has not begun.
        for number, side in enumerate(self.sides):
            text = Text(no_wrap=True, overflow="ellipsis")
            text.append(f" {SIDES[number]} ", "bold reverse")
            text.append(f" {visible(side.name) or '—'}\n", "bold")
            text.append(f" {visible(side.note)}", "red" if side.is_bad else "dim")
            self.query_one(f"#head{number}", SideHead).update(text)
        mode = Text.assemble((" raw text " if self.is_raw else " chat ", "reverse"), (" ^t", "dim"))
        self.query_one("#mode", Static).update(mode)

    def _draw_tokens(self) -> None:
        if not self.display or not self.query(SideText):
            return
        first, second = self.query(SideText)
        index = self.cursor if self.cursor is not None else first.parting
        head = Text(no_wrap=True, overflow="ellipsis")
        if index is None:
            same = bool(first.tokens) and all(side.finished is not None for side in self.sides)
            said = "the answers are the same" if same else "the tokens where the answers part are shown here"
            self.query_one("#tokens", Static).update(Text(f" {said}", "dim"))
            return
        what = "where they part" if index == first.parting else "token"
        head.append(f" {what}: {index}\n", "bold")
        half = max(self.size.width // 2 - 2, 20)
        columns = [_token_lines(side.tokens, index, half) for side in (first, second)]
        for left, right in zip(*columns, strict=True):
            left.pad_right(half - left.cell_len)
            head.append_text(left)
            head.append(" │ ", "dim")
            head.append_text(right)
            head.append("\n")
        self.query_one("#tokens", Static).update(head)

    def on_side_text_moved(self, event: SideText.Moved) -> None:
        self.cursor = event.index
        self._mark()

    def action_parting(self) -> None:
        """Go to the first token that differs."""
        self.cursor = self.query_one("#text0", SideText).parting
        self._mark()

    def action_colours(self) -> None:
        """Colour tokens by their probability, or by where the answers differ."""
        self.is_coloured = not self.is_coloured
        self._mark()

    def action_mode(self) -> None:
        """Switch between a chat and raw text that is gone on with."""
        self.is_raw = not self.is_raw
        self._draw_heads()

    def on_click(self, event: events.Click) -> None:
        if event.widget is not None and event.widget.id == "mode":
            self.action_mode()


def _told(reply: Finished, tokens: list[TokenInfo]) -> str:
    """Return what there is to say of a whole answer."""
    chosen = [token.logprob for token in tokens if not token.forced]
    likely = f" · perplexity {math.exp(-sum(chosen) / len(chosen)):.2f}" if chosen else ""
    speed = f" · {reply.num_tokens / reply.seconds:.0f} tok/s" if reply.seconds else ""
    return f"{reply.num_tokens} tokens{likely}{speed} · seed {reply.seed} · {reply.reason}"


def _token_lines(tokens: list[TokenInfo], index: int, width: int) -> list[Text]:
    """Return a token and its alternatives, six lines."""
    lines = [Text(" (the answer has ended)", "dim")]
    if index < len(tokens):
        token = tokens[index]
        likely = "put there" if token.forced else f"p {math.exp(token.logprob):.3f}"
        lines = [Text.assemble((f" {_quote(token.label)}", "bold"), f"  {likely}")]
        for other in token.alternatives[:MOST_ALTERNATIVES]:
            probability = math.exp(other.logprob)
            sign = "●" if other.id == token.id else " "
            line = Text(f" {sign} {_quote(other.label):<14.14} {probability:5.3f} ")
            line.append("━" * max(1, round(probability * max(width - line.cell_len - 1, 4))), "#56b4e9")
            lines.append(line)
    lines += [Text() for _ in range(MOST_ALTERNATIVES + 1 - len(lines))]
    for line in lines:
        line.no_wrap = True
        line.truncate(width)
    return lines


def _quote(label: str) -> str:
    return f"'{visible(label.replace(chr(10), '⏎'))}'"
