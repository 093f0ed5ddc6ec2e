"""The line on top: the model at the left, how it does at the right."""

from rich.text import Text
from textual.widget import Widget


class StatusLine(Widget):
    """Two texts in one line; the right one stays whole where there is too little room."""

    DEFAULT_CSS = "StatusLine { height: 1; padding: 0 1; background: $surface; color: $text; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.left = Text()
        self.right = Text()

    def show(self, left: Text, right: Text) -> None:
        """Say something else."""
        if (left, right) != (self.left, self.right):
            self.left, self.right = left, right
            self.refresh()

    def render(self) -> Text:
        width = self.content_size.width
        right = self.right.copy()
        right.truncate(width, overflow="ellipsis")
        left = self.left.copy()
        left.truncate(max(width - right.cell_len - 1, 0), overflow="ellipsis", pad=True)
        return Text.assemble(left, " ", right, no_wrap=True)
