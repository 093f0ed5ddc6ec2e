"""The messages of a conversation, of which only the last ones are widgets: a long chat stays light."""

from collections.abc import Callable, Iterator
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from workbench.colours import ColourMode
from workbench.conversations import Conversation, Node, Question
from workbench.widgets.messages import AnswerText, QuestionText
from workbench.widgets.token_text import RawMode, TokenText

SHOWN = 40
"""Messages that are widgets at first; `STEP` more with each wish for earlier ones."""
STEP = 20
MOST = 80
"""Widgets beyond which earlier messages are put away again, while new ones come."""


class Earlier(Static, can_focus=True):
    """Stands above the messages; brings earlier ones."""

    DEFAULT_CSS = """
    Earlier { height: 1; width: 1fr; text-align: center; color: $text-muted; margin: 0 0 1 0;
        &:focus { background: $primary 40%; color: $text; } &:hover { color: $text; } }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,up", "load", "Earlier messages", id="earlier_messages")
    ]

    def __init__(self, load: Callable[[], None]) -> None:
        super().__init__(markup=False)
        self._load = load

    def action_load(self) -> None:
        """Bring earlier messages."""
        self._load()

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self._load()


class Empty(Static):
    """Stands in an empty conversation."""

    DEFAULT_CSS = "Empty { height: auto; margin: 1 2; color: $text-muted; }"


class Transcript(VerticalScroll, can_focus=False):
    """Shows the path of a conversation."""

    DEFAULT_CSS = "Transcript { height: 1fr; padding: 1 1 0 1; scrollbar-size-vertical: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.conversation = Conversation()
        self.colours: ColourMode = "off"
        self.raw: RawMode = "off"
        self.shows_thinking = False
        self._path: list[Node] = []
        self._first = 0
        """Place in the path of the first message that is a widget."""

    @property
    def answers(self) -> list[AnswerText]:
        """The answers that are widgets, in order."""
        return list(self.query(AnswerText))

    def widget_of(self, node_id: str) -> QuestionText | AnswerText | None:
        """Return the widget of a message, if it has one."""
        messages: Iterator[QuestionText | AnswerText] = iter([*self.query(QuestionText), *self.answers])
        return next((widget for widget in messages if widget.node.id == node_id), None)

    async def show(self, conversation: Conversation, hint: str = "") -> None:
        """Show a conversation from its end; `hint` if it is empty."""
        self.conversation = conversation
        # Others who change the messages wait, and begin from what is then there.
        async with self.batch():
            self._path = self.conversation.path()
            self._first = max(len(self._path) - SHOWN, 0)
            await self.remove_children()
            if self._path:
                await self.mount(self._earlier(), *map(self._widget, self._path[self._first :]))
            else:
                await self.mount(Empty(hint, markup=False))
        self._count_earlier()
        self.scroll_end(animate=False)

    async def update(self) -> None:
        """Follow the conversation's path: what is still on it stays as it is."""
        async with self.batch():
            path = self.conversation.path()
            same = 0
            while same < min(len(path), len(self._path)) and path[same] is self._path[same]:
                same += 1
            if same < self._first or not self._path:
                await self.show(self.conversation)
                return
            gone = [widget for node in self._path[same:] if (widget := self.widget_of(node.id)) is not None]
            self._path = path
            await self.remove_children(gone)
            await self.mount(*map(self._widget, path[same:]))
            await self._put_away()

    async def _put_away(self) -> None:
        """Unmount the earliest messages where there are too many."""
        if len(self._path) - self._first > MOST:
            first = len(self._path) - SHOWN
            gone = [self.widget_of(node.id) for node in self._path[self._first : first]]
            await self.remove_children([widget for widget in gone if widget is not None])
            self._first = first
        self._count_earlier()

    def load_earlier(self) -> None:
        """Make widgets of some messages before the first."""
        first = max(self._first - STEP, 0)
        new = [self._widget(node) for node in self._path[first : self._first]]
        if not new:
            return
        self._first = first
        self.release_anchor()
        self.mount(*new, after=0)
        self._count_earlier()
        # The reader's place is the end of what has come.
        self.call_after_refresh(lambda: self.scroll_to_widget(new[-1], animate=False, top=True))

    def _earlier(self) -> Earlier:
        return Earlier(self.load_earlier)

    def _count_earlier(self) -> None:
        for earlier in self.query(Earlier):
            earlier.display = self._first > 0
            earlier.update(f"▲ {self._first} earlier message{'s' if self._first > 1 else ''}: enter or click")

    def _widget(self, node: Node) -> QuestionText | AnswerText:
        if isinstance(node, Question):
            return QuestionText(self.conversation, node)
        widget = AnswerText(self.conversation, node)
        self._dress(widget)
        return widget

    def _dress(self, text: TokenText) -> None:
        text.colours, text.raw, text.shows_thinking = self.colours, self.raw, self.shows_thinking

    def redress(self) -> None:
        """Show all answers the way it is wanted now."""
        for text in self.answers:
            self._dress(text)
            text.rewrap()
