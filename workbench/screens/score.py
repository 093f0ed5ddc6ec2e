"""How likely a model finds a text that is pasted in."""

import math
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from picochat.engine.protocol import Failed, Score, Scored
from workbench.engine_client import Crashed
from workbench.visible import visible
from workbench.widgets.inputs import PageInput
from workbench.widgets.inspector import Inspector, quote
from workbench.widgets.token_text import TokenText

if TYPE_CHECKING:
    from workbench.app import Workbench

NUM_SURPRISES = 3


class ScoreScreen(ModalScreen[None]):
    """A text, its perplexity, and each of its tokens coloured by how likely it was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", priority=True),
        Binding("ctrl+s", "score", "Score", priority=True, id="score"),
        Binding("f6", "colours", "Probability or entropy", priority=True, id="score_colours"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog score"):
            yield Static("perplexity of a text", classes="question")
            yield PageInput(id="text", placeholder="paste or type a text, then ^S")
            with VerticalScroll(can_focus=False):
                yield TokenText(id="scored")
            yield Static(id="facts", markup=False)
            yield Inspector(id="score-inspector")
            keys = "^S score · tab, then ← → walks · F6 probability or entropy · esc leaves"
            yield Static(keys, classes="hint")

    def on_mount(self) -> None:
        self.query_one("#scored", TokenText).colours = "probability"
        self.query_one("#score-inspector").display = False

    @work(exclusive=True)
    async def action_score(self) -> None:
        """Ask the model."""
        workbench = cast("Workbench", self.app)
        text = self.query_one(TextArea).text
        if workbench.loaded is None:
            self.notify("no model is loaded; F3 lists the checkpoints", severity="warning")
        elif not text:
            self.notify("paste or type a text first", severity="warning")
        else:
            reply = await workbench.client.ask(Score(id=workbench.client.new_id(), text=text))
            if isinstance(reply, Scored):
                self.query_one("#scored", TokenText).replace(reply.tokens)
                self.query_one("#facts", Static).update(describe(reply))
                self.query_one("#scored", TokenText).focus()
            elif isinstance(reply, Failed):
                self.notify(visible(reply.message), severity="error", markup=False)
            elif isinstance(reply, Crashed):
                workbench.tell_crash(reply)

    def action_colours(self) -> None:
        """Change between colours by probability and by entropy."""
        text = self.query_one("#scored", TokenText)
        text.colours = "entropy" if text.colours == "probability" else "probability"
        text.refresh()

    def on_token_text_inspected(self, event: TokenText.Inspected) -> None:
        event.stop()
        inspector = self.query_one(Inspector)
        inspector.display = event.index >= 0
        if event.index >= 0:
            inspector.show(event.source.tokens[event.index], event.index)


def describe(scored: Scored) -> Text:
    """Return the numbers of a scored text."""
    count = len(scored.tokens)
    text = Text.assemble(
        (f"perplexity {math.exp(min(scored.nats / count, 700)):.2f}", "bold"),
        f" · {scored.nats / math.log(2) / max(scored.num_bytes, 1):.3f} bits per byte"
        f" · {scored.nats / count:.3f} nats a token · {count} in {scored.num_bytes} bytes\n",
    )
    surprises = sorted(scored.tokens, key=lambda token: token.logprob)[:NUM_SURPRISES]
    told = "  ".join(f"{quote(token.label)} {math.exp(token.logprob):.1e}" for token in surprises)
    text.append(f"least expected: {told}", "dim")
    return text
