"""An answer as it is written: one light widget, however many tokens it has.

Only the last line is wrapped anew when tokens come, and only visible lines are drawn. The widget can be
walked through token by token, and coloured by how likely each was.
"""

import math
from collections.abc import Iterable
from itertools import groupby
from typing import ClassVar, Literal

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from picochat.engine.protocol import TokenInfo
from workbench.colours import ColourMode, doubt_style, level, level_style
from workbench.looks import look
from workbench.tokens import TokenList
from workbench.visible import visible
from workbench.widgets.wrap import Line, Piece, Wrapper

RawMode = Literal["off", "tokens", "ids"]
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
CURSOR = Style(reverse=True)
MOST_STRIPS = 128
"""Lines that are kept drawn: more than a screen has."""
HOVER = Style(underline=True, bold=True)


class TokenText(Widget, can_focus=True):
    """The tokens of one answer."""

    DEFAULT_CSS = """
    TokenText {
        height: auto; padding: 0 1; margin: 0 0 1 0; border-left: outer $panel;
        &:focus { border-left: outer $accent; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(-1)", "Token before", show=False, id="token_left"),
        Binding("right,l", "move(1)", "Next token", show=False, id="token_right"),
        Binding("up,k", "line(-1)", "Line above", show=False, id="token_up"),
        Binding("down,j", "line(1)", "Line below", show=False, id="token_down"),
        Binding("home", "move(-1000000)", "First token", show=False, id="token_first"),
        Binding("end", "move(1000000)", "Last token", show=False, id="token_last"),
        Binding("n", "doubtful(1)", "Next unlikely token", show=False, id="token_doubt"),
        Binding("p", "doubtful(-1)", "Unlikely token before", show=False, id="token_doubt_back"),
    ]
    cursor: reactive[int] = reactive(-1)
    """Index of the token under the cursor, -1 for none."""
    hover: reactive[int] = reactive(-1)
    """Index of the token under the mouse, -1 for none."""

    class Inspected(Message):
        """The cursor or the mouse came to a token, or left (index -1)."""

        def __init__(self, source: "TokenText", index: int) -> None:
            super().__init__()
            self.source = source
            self.index = index

        @property
        def control(self) -> "TokenText":
            return self.source

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.tokens = TokenList()
        self.colours: ColourMode = "off"
        self.raw: RawMode = "off"
        self.shows_thinking = False
        self.footer = ""
        """A line below the text."""
        self._wrapper = Wrapper(0)
        self._base = Style()
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(MOST_STRIPS)
        self._waiting: list[TokenInfo] = []
        self._is_over = False
        self._thought: int | None = None  # tokens of the block of thinking that is open

    # What it shows

    def append(self, tokens: Iterable[TokenInfo]) -> None:
        """Take more tokens; they are drawn by the next `flush`."""
        self._waiting += tokens

    @property
    def num_waiting(self) -> int:
        """Tokens that are not drawn yet."""
        return len(self._waiting)

    def flush(self, limit: int | None = None) -> None:
        """Draw what was appended, or at most `limit` tokens of it."""
        taken = self._waiting[:limit]
        if not taken:
            return
        del self._waiting[:limit]
        first, lines_before = len(self.tokens), len(self._wrapper.lines)
        self.tokens.extend(taken)
        if not self._wrapper.width:
            return
        for index in range(first, len(self.tokens)):
            self._add(index)
        if len(self._wrapper.lines) != lines_before:
            self.refresh(layout=True)
        else:
            self.refresh(Region(0, lines_before - 1, self.content_size.width, 1))

    def replace(self, tokens: Iterable[TokenInfo]) -> None:
        """Show other tokens instead."""
        self.tokens = tokens if isinstance(tokens, TokenList) else TokenList(tokens)
        self._waiting, self.cursor, self.hover = [], -1, -1
        self.rewrap()

    def rewrap(self) -> None:
        """Lay everything out anew, after the way of showing it has changed."""
        self._wrap(self._wrapper.width)
        self.refresh(layout=True)

    def _wrap(self, width: int) -> None:
        self._wrapper, self._thought = Wrapper(width), None
        self._strips.clear()
        if width:
            for index in range(len(self.tokens)):
                self._add(index)
            self._tell_open_thinking()

    def set_over(self, is_over: bool) -> None:
        """Say whether the answer is complete; what it still thinks will then never end."""
        if is_over != self._is_over:
            self._is_over = is_over
            if self._thought is not None:
                self.rewrap()

    def _tell_open_thinking(self) -> None:
        if self._is_over and self._thought is not None and not self.shows_thinking:
            self._wrapper.add(Piece(f"({_count(self._thought)}, never ended)", "note", -1))

    def _add(self, index: int) -> None:
        for piece in self._raw_pieces(index) if self.raw != "off" else self._pieces(index):
            self._wrapper.add(piece)

    def _raw_pieces(self, index: int) -> list[Piece]:
        """Return a token as it is, with its border, and its id if that is wanted."""
        kind, label = self.tokens.kinds[index], self.tokens.labels[index]
        pieces = [Piece(visible(label.replace("\n", "⏎")), kind, index)]
        if self.raw == "ids":
            pieces.append(Piece(str(self.tokens[index].id).translate(SUBSCRIPTS), "note", index))
        return [*pieces, Piece("│\n" if label.endswith("\n") else "│", "note", -1)]

    def _pieces(self, index: int) -> list[Piece]:
        """Return what stands for a token where only the text matters."""
        kind, text = self.tokens.kinds[index], self.tokens.texts[index]
        if kind == "control":
            return self._control_pieces(self.tokens.labels[index], index)
        if kind == "thinking":
            self._thought = (self._thought or 0) + 1
            if not self.shows_thinking:
                return []
        return [Piece(visible(text), kind, index)] if text else []

    def _control_pieces(self, label: str, index: int) -> list[Piece]:
        match label:
            case "<|think_start|>":
                self._thought = 0
                # The cursor can stand on it: what else could the answer have begun with?
                return [Piece("▾ thinking\n" if self.shows_thinking else "▸ thinking ", "note", index)]
            case "<|think_end|>":
                count, self._thought = _count(self._thought or 0), None
                return [Piece("\n" if self.shows_thinking else f"({count})\n", "note", -1)]
            case "<|tool_call_start|>":
                return [Piece(" ⚙ ", "note", -1)]
            case "<|tool_result_start|>":
                return [Piece(" → ", "note", -1)]
            case "<|tool_result_end|>":
                return [Piece(" ", "note", -1)]
        return []

    # Drawing

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if width != self._wrapper.width:
            self._wrap(width)
        return len(self._wrapper.lines) + bool(self.footer)

    def render_lines(self, crop: Region) -> list[Strip]:
        # All lines have it, and it takes longer to find than a line to draw.
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        width, base = self.content_size.width, self._base
        lines = self._wrapper.lines
        if y >= len(lines):
            told = self.footer if y == len(lines) else ""
            return Strip([Segment(told, base + look(self.app, "note"))]).adjust_cell_length(width, base)
        # Lines above the last stay as they are while an answer grows, but the compositor asks for them again.
        is_plain = self.cursor < 0 and self.hover < 0 and self.text_selection is None
        if not is_plain or y == len(lines) - 1:
            return self._draw_line(y, width, base)
        key = (y, width, base, self.colours, getattr(self.app, "ramp", ""), self.app.theme)
        if (strip := self._strips.get(key)) is None:
            strip = self._strips[key] = self._draw_line(y, width, base)
        return strip

    def _draw_line(self, y: int, width: int, base: Style) -> Strip:
        # One segment for all tokens that look alike: most of a terminal's work are changes of colour.
        runs = groupby(self._wrapper.lines[y], self._style)
        segments = [Segment("".join(piece.text for piece in run), base + style) for style, run in runs]
        strip = Strip(segments).adjust_cell_length(width, base).crop(0, width)
        return self._selected(strip, y).apply_offsets(0, y)

    def _selected(self, strip: Strip, y: int) -> Strip:
        selection = self.text_selection
        span = selection.get_span(y) if selection is not None else None
        if span is None:
            return strip
        start, end = span
        end = strip.cell_length if end == -1 else min(end, strip.cell_length)
        chosen = self.screen.get_component_rich_style("screen--selection")
        middle = [Segment(text, (style or Style()) + chosen) for text, style, _ in strip.crop(start, end)]
        return Strip.join([strip.crop(0, start), Strip(middle), strip.crop(end)])

    def _style(self, piece: Piece) -> Style:
        style = look(self.app, piece.kind)
        index = piece.token
        if index < 0:
            return style
        if piece.kind == "note":
            return style + CURSOR if index == self.cursor and self.has_focus else style
        if self.colours != "off" and not self.tokens.is_forced(index):
            style += self._ramp_style(index)
        if index == self.hover:
            style += HOVER
        return style + CURSOR if index == self.cursor and self.has_focus else style

    def _ramp_style(self, index: int) -> Style:
        nats = self.tokens.entropy(index) if self.colours == "entropy" else -self.tokens.logprob(index)
        if math.isnan(nats):
            return Style()
        bits = nats / math.log(2)
        theme = self.app.current_theme
        background = self.app.theme_variables.get("background", "#000000")
        ramp = getattr(self.app, "ramp", "blue-orange")
        return level_style(level(bits), ramp, background, theme.ansi) + doubt_style(bits)

    # Selecting with the mouse

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        told = []
        for y, line in enumerate(self._wrapper.lines):
            if (span := selection.get_span(y)) is None:
                continue
            text = "".join(piece.text for piece in line)
            start, end = span
            told.append(text[start:] if end == -1 else text[start:end])
            # Line breaks of ours are not part of the text.
            if y in self._wrapper.ended and end == -1:
                told[-1] = told[-1][:-1] + "\n"
        return "".join(told), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # The cursor

    def watch_cursor(self) -> None:
        self.refresh()
        if self.cursor >= 0:
            self.post_message(self.Inspected(self, self.cursor))

    def watch_hover(self) -> None:
        self.refresh()
        self.post_message(self.Inspected(self, self.hover if self.hover >= 0 else self.cursor))

    def on_focus(self) -> None:
        if self.cursor < 0 and self.tokens:
            self.cursor = self._visible_token(len(self.tokens) - 1, -1)
        elif self.cursor >= 0:
            self.post_message(self.Inspected(self, self.cursor))
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def action_move(self, distance: int) -> None:
        """Move by tokens."""
        if self.tokens:
            aim = min(max(self.cursor + distance, 0), len(self.tokens) - 1)
            self.cursor = self._visible_token(aim, 1 if distance > 0 else -1)
            self.scroll_to_cursor()

    def action_line(self, distance: int) -> None:
        """Move by lines; at the ends the focus goes on to the next widget."""
        y = self._line_of_cursor() + distance
        while 0 <= y < len(self._wrapper.lines):
            held = [piece.token for piece in self._wrapper.lines[y] if piece.token >= 0]
            if held:
                self.cursor = held[0]
                self.scroll_to_cursor()
                return
            y += distance
        if distance < 0:
            self.screen.focus_previous()
        else:
            self.screen.focus_next()

    def action_doubtful(self, direction: int) -> None:
        """Go to the next token that had a probability under one in ten."""
        ahead = range(self.cursor + 1, len(self.tokens)) if direction > 0 else range(self.cursor - 1, -1, -1)
        shown = self._shown()
        for index in ahead:
            is_unlikely = self.tokens.logprob(index) < math.log(0.1) and not self.tokens.is_forced(index)
            if is_unlikely and index in shown:
                self.cursor = index
                self.scroll_to_cursor()
                return

    def token_at(self, event: events.MouseEvent) -> int:
        """Return the token under the mouse, -1 for none."""
        offset = event.get_content_offset(self)
        if offset is None or offset.y >= len(self._wrapper.lines):
            return -1
        x = 0
        for piece in self._wrapper.lines[offset.y]:
            x += cell_len(piece.text)
            if offset.x < x:
                return piece.token
        return -1

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self.hover = self.token_at(event)

    def on_leave(self) -> None:
        self.hover = -1

    def on_click(self, event: events.Click) -> None:
        if self._is_thinking_mark(event):
            self.action_toggle_thinking()
        elif (index := self.token_at(event)) >= 0:
            self.cursor = index

    def _is_thinking_mark(self, event: events.MouseEvent) -> bool:
        offset = event.get_content_offset(self)
        lines: list[Line] = self._wrapper.lines
        if offset is None or offset.y >= len(lines):
            return False
        return any(piece.text == "thinking" for piece in lines[offset.y] if piece.kind == "note")

    def action_toggle_thinking(self) -> None:
        """Open or close what the model thinks in this answer."""
        self.shows_thinking = not self.shows_thinking
        self.rewrap()

    def _shown(self) -> set[int]:
        return {piece.token for line in self._wrapper.lines for piece in line}

    def _visible_token(self, index: int, direction: int) -> int:
        """Return `index`, or the next token in a direction that is on the screen; else where it was."""
        shown = self._shown()
        ahead = range(index, len(self.tokens)) if direction > 0 else range(index, -1, -1)
        behind = range(index, -1, -1) if direction > 0 else range(index, len(self.tokens))
        return next((i for i in (*ahead, *behind) if i in shown), self.cursor)

    def _line_of_cursor(self) -> int:
        lines = enumerate(self._wrapper.lines)
        return next((y for y, line in lines if any(piece.token == self.cursor for piece in line)), 0)

    def scroll_to_cursor(self) -> None:
        """Bring the token under the cursor into view."""
        region = Region(0, self.content_offset.y + self._line_of_cursor(), 1, 1)
        for ancestor in self.ancestors:
            if isinstance(ancestor, Widget) and ancestor.allow_vertical_scroll:
                ancestor.scroll_to_region(region.translate(self.virtual_region.offset), animate=False)
                return


def _count(tokens: int) -> str:
    return f"{tokens} token{'' if tokens == 1 else 's'}"
