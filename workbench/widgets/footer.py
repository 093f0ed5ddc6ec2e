"""The keys that work now, in the last line."""

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.reactive import reactive
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

ALWAYS = "help"
"""The action that is told however little room there is: its page has all the keys."""
MORE = "…"
HOVER = Style(underline=True)


class Key(NamedTuple):
    """A key of the line, as it is pressed and as it is told."""

    key: str
    told: str
    description: str
    action: str
    is_enabled: bool

    @property
    def width(self) -> int:
        """Cells that it takes, with a space before and after."""
        return cell_len(f" {self.told} {self.description} ")


class Footer(Widget):
    """Keys and what they do; a click presses one.

    One widget, for Textual's own footer makes a widget of every key anew whenever the focus moves, which
    costs more than all the rest of a screen.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"footer--key", "footer--description", "footer--disabled"}
    DEFAULT_CSS = """
    Footer {
        dock: bottom; height: 1; background: $footer-background;
        .footer--key, .footer--description, .footer--disabled {
            color: $footer-description-foreground; background: $footer-background;
        }
        .footer--key { color: $footer-key-foreground; text-style: bold; }
        .footer--disabled { text-style: dim; }
    }
    """
    keys: reactive[tuple[Key, ...]] = reactive(())
    """All that could be told, in order."""
    hovered: reactive[int] = reactive(-1)
    """Which of the keys that are shown the mouse is on."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._take_bindings)

    def _take_bindings(self, screen: Screen) -> None:
        # Without the terminal's focus nothing has it, and the keys would come and go.
        if screen.app.app_focus and screen is self.screen:
            self.keys = tuple(self._active_keys())

    def _active_keys(self) -> Iterator[Key]:
        seen = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and binding.action not in seen:
                seen.add(binding.action)
                told = self.app.get_key_display(binding)
                yield Key(binding.key, told, binding.description, binding.action, active.enabled)

    def shown_keys(self) -> list[Key | None]:
        """Return the keys that there is room for; None stands for those that are left out."""
        if sum(key.width for key in self.keys) <= self.size.width:
            return list(self.keys)
        always = [key for key in self.keys if key.action == ALWAYS]
        room = self.size.width - sum(key.width for key in always) - cell_len(MORE)
        shown: list[Key | None] = []
        for key in self.keys:
            if key.action != ALWAYS:
                room -= key.width
                if room < 0:
                    break
                shown.append(key)
        return [*shown, None, *always]

    def render_line(self, y: int) -> Strip:
        key_style = self.get_component_rich_style("footer--key")
        description_style = self.get_component_rich_style("footer--description")
        disabled_style = self.get_component_rich_style("footer--disabled")
        segments = []
        for number, key in enumerate(self.shown_keys()):
            if key is None:
                segments.append(Segment(MORE, description_style))
                continue
            styles = (key_style, description_style) if key.is_enabled else (disabled_style, disabled_style)
            if number == self.hovered:
                styles = (styles[0] + HOVER, styles[1] + HOVER)
            segments.append(Segment(f" {key.told}", styles[0]))
            segments.append(Segment(f" {key.description} ", styles[1]))
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _number_at(self, x: int) -> int:
        start = 0
        for number, key in enumerate(self.shown_keys()):
            width = cell_len(MORE) if key is None else key.width
            if start <= x < start + width:
                return number if key else -1
            start += width
        return -1

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self.hovered = self._number_at(event.x)

    def on_leave(self) -> None:
        self.hovered = -1

    def on_mouse_down(self, event: events.MouseDown) -> None:
        number = self._number_at(event.x)
        key = self.shown_keys()[number] if number >= 0 else None
        if key is None:
            return
        if key.is_enabled:
            self.app.simulate_key(key.key)
        else:
            self.app.bell()
