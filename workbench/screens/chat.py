"""Chat with a model, and look at each token of what it says."""

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.timer import Timer

from picochat.engine.protocol import Loaded, Predict, Predicted
from picochat.errors import UserError
from picochat.tokenizer.messages import messages_to_json
from workbench.colours import MODES
from workbench.conversations import Answer, Conversation, Question
from workbench.editor import edit
from workbench.screens.conversation_actions import ConversationActionsScreen
from workbench.visible import visible
from workbench.widgets.footer import Footer
from workbench.widgets.inspector import Inspector, quote
from workbench.widgets.messages import AnswerText
from workbench.widgets.prompt import Prompt
from workbench.widgets.sampling import SamplingPanel
from workbench.widgets.status import StatusLine
from workbench.widgets.strip import ModeStrip
from workbench.widgets.token_text import TokenText
from workbench.widgets.transcript import Transcript

STATUS_SECONDS = 0.25
PICTURE_SECONDS = 0.15
"""How long the cursor and the options have to stand still before the next token is drawn."""
RAW_MODES = ("off", "tokens", "ids")


class ChatScreen(ConversationActionsScreen):
    """One conversation."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", id="stop"),
        Binding("ctrl+r", "regenerate", "Again", id="regenerate"),
        Binding("ctrl+n", "new", "New", id="new"),
        Binding("ctrl+o", "open", "Open", id="open"),
        Binding("f5", "panel", "Sampling", id="sampling"),
        # A text area has these two for itself.
        Binding("f6", "colours", "Colours", id="colours", priority=True),
        Binding("f7", "raw", "Raw tokens and ids", show=False, id="raw", priority=True),
        Binding("f8", "thinking", "Thinking of all answers", show=False, id="thinking"),
        Binding("f9", "export", "Export as Markdown or for SFT", show=False, id="export"),
        Binding("f10", "score", "Perplexity of a text", show=False, id="perplexity"),
        Binding("f12", "delete", "Delete the conversation", show=False, id="delete_conversation"),
        Binding("ctrl+b", "edit_last", "Edit the last question", show=False, id="edit_last"),
        Binding("ctrl+l", "continue_last", "Go on with the last answer", show=False, id="continue_last"),
        Binding("ctrl+g", "editor", "Prompt in your editor", show=False, id="editor"),
        Binding("ctrl+s", "system", "System prompt", show=False, id="system"),
        Binding("ctrl+t", "mode", "Chat or raw completion", show=False, id="mode"),
        Binding("alt+r", "rename", "Rename the conversation", show=False, id="rename"),
        Binding("alt+c", "copy_last", "Copy the last answer", show=False, id="copy_last"),
        Binding("alt+p", "load_preset", "Sampling presets", show=False, id="presets"),
        Binding("alt+s", "save_preset", "Keep the sampling as a preset", show=False, id="save_preset"),
        Binding("alt+e", "export_preferences", "Export preference pairs", show=False, id="preferences"),
        Binding("alt+up", "to_messages", "To the messages", show=False, id="to_messages"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._inspected: tuple[Answer, int] | None = None
        self._status_at = 0.0
        self._picture_timer: Timer | None = None
        self._early: Question | None = None
        """What was asked while the model was still being loaded; it is answered then."""

    def compose(self) -> ComposeResult:
        yield ModeStrip("chat")
        yield StatusLine(id="status")
        with Horizontal():
            with Vertical():
                yield Transcript(id="conversation")
                yield Inspector(id="inspector")
                yield Prompt(self.workbench.history, id="prompt")
            yield SamplingPanel(id="sampling")
        yield Footer()

    async def on_mount(self) -> None:
        self._hide_tokens()
        self.start_frames()
        await self.show(self.conversation)
        self.query_one(Prompt).focus()

    def on_screen_resume(self) -> None:
        self.update_status()

    # What is told on top

    def update_status(self) -> None:
        """Say what is loaded and how it does."""
        loaded = self.workbench.loaded
        left = Text(no_wrap=True)
        if loaded is None:
            left.append("○ ", "dim")
            left.append(visible(self.workbench.load_state))
        else:
            left.append("● ", "bold green")
            left.append(visible(self.workbench.load_name), "bold")
            left.append(f" {loaded.num_parameters / 1e6:.1f}M {loaded.device} {loaded.dtype}", "dim")
        mode = "raw completion" if self.conversation.is_raw else visible(self.conversation.name)
        left.append(f"  {mode}")
        self.query_one(StatusLine).show(left, Text(self._facts(), no_wrap=True))

    def _facts(self) -> str:
        loaded, writing = self.workbench.loaded, self.writing
        answer = self.conversation.last_answer
        if loaded is None:
            return ""
        if writing is not None:
            if writing.first_at is None:
                return f"reading … {self.workbench.clock() - writing.began:.1f} s"
            first, rate, used = writing.first_at - writing.began, writing.rate, writing.num_context
        elif answer is not None and answer.num_context:
            first, rate, used = answer.first_seconds, answer.rate, answer.num_context
        else:
            return f"context {loaded.context} · KV {_megabytes(loaded.cache_bytes)}"
        cache = loaded.cache_bytes * min(used / loaded.context, 1)
        told = f"{rate:.0f} tok/s · first {first * 1000:.0f} ms · ctx {used}/{loaded.context}"
        return f"{told} · KV {_megabytes(cache)}"

    def told_progress(self) -> None:
        now = self.workbench.clock()
        if now - self._status_at >= STATUS_SECONDS:
            self._status_at = now
            self.update_status()

    def told_end(self, answer: Answer) -> None:
        self.update_status()
        self._picture_soon()

    def told_change(self) -> None:
        self._hide_tokens()
        self.update_status()
        self._picture_soon()

    async def told_loaded(self, loaded: Loaded | None, *, is_base: bool) -> None:
        """Another model is there; one that has only read texts is given texts to go on with."""
        if loaded is not None and is_base and not self.conversation.nodes and not self.conversation.is_raw:
            await self.show(Conversation(is_raw=True))
            self.notify("it has read texts but no conversations yet", title="a base model", timeout=6)
        self.update_status()
        self._picture_soon()
        if not self.workbench.is_loading:
            early, self._early = self._early, None
            if early is not None and loaded is not None and early in self.conversation.path():
                await self.answer(early)

    # Keys

    async def on_prompt_sent(self, event: Prompt.Sent) -> None:
        is_early = self.workbench.is_loading and self._early is None and not self.is_busy
        if not is_early and not self.is_free():
            return
        try:
            self.query_one(Prompt).remember(event.text)
        except OSError as error:
            self.tell(error)
        question = Question(parent=self.end_of_path, text=event.text)
        if is_early:
            self._early = question
            self.add_node(question)
            await self.transcript.update()
            self.update_status()
        else:
            await self.ask(question)

    def action_stop(self) -> None:
        """Stop the answer and keep what there is; without one, go back to the prompt."""
        if not self.stop():
            self._hide_tokens()
            if self._is_narrow:
                self.panel.remove_class("shown")
            self.query_one(Prompt).focus()

    async def action_regenerate(self) -> None:
        """Answer the question of the focused message, or the last one, once more."""
        node = self.focused.node if isinstance(self.focused, AnswerText) else None
        if node not in self.conversation.path():
            node = self.conversation.last_answer or self.last_question
        if node is not None:
            await self.regenerate(node)

    async def action_continue_last(self) -> None:
        """Let the model write on where the last answer ends."""
        if (answer := self.conversation.last_answer) is not None:
            await self.continue_answer(answer)

    def action_edit_last(self) -> None:
        """Change the last question and ask it anew."""
        if (question := self.last_question) is not None:
            self.edit(question)

    def action_copy_last(self) -> None:
        """Copy the last answer."""
        if (answer := self.conversation.last_answer) is not None:
            self.copy_text(answer.text)

    def action_editor(self) -> None:
        """Write the prompt in the user's own editor."""
        prompt = self.query_one(Prompt)
        try:
            with self.app.suspend():
                text = edit(prompt.text)
        except SuspendNotSupported:
            self.notify("this terminal can not be lent to an editor", severity="warning")
        except UserError as error:
            self.tell(error)
        else:
            prompt.fill(text)
        prompt.focus()

    def action_to_messages(self) -> None:
        """Go to the last message."""
        if self.transcript.answers:
            self.transcript.answers[-1].focus()

    def action_score(self) -> None:
        """Ask how likely the model finds a text."""
        from workbench.screens.score import ScoreScreen

        self.app.push_screen(ScoreScreen())

    def interrupt(self) -> bool:
        """Stop what is going on; return whether there was something."""
        return self.stop()

    @property
    def _is_narrow(self) -> bool:
        return self.has_class("-narrow")

    def action_panel(self) -> None:
        """Show the sampling options and go to them, or leave them."""
        is_inside = self.focused is not None and self.panel in self.focused.ancestors
        self.panel.set_class(not is_inside and self._is_narrow, "shown")
        if is_inside:
            self.query_one(Prompt).focus()
        else:
            self.panel.query("OptionRow").first().focus()
            self._picture_soon()

    # How answers look

    def action_colours(self) -> None:
        """Colour answers by the probability of their tokens, by entropy, or not at all."""
        mode = MODES[(MODES.index(self.transcript.colours) + 1) % len(MODES)]
        self.transcript.colours = mode
        for text in self.transcript.answers:
            text.colours = mode
            text.refresh()
        self.notify(f"colours: {mode}", timeout=2)

    def action_raw(self) -> None:
        """Show tokens as they are, control tokens and borders too, then with ids."""
        place = RAW_MODES.index(self.transcript.raw)
        self.transcript.raw = RAW_MODES[(place + 1) % len(RAW_MODES)]
        self._redress()

    def action_thinking(self) -> None:
        """Open or close what models think before they answer."""
        self.transcript.shows_thinking = not self.transcript.shows_thinking
        self._redress()

    def _redress(self) -> None:
        """Draw all answers anew; the cursor, or else the end, stays in view."""
        is_at_end = self.transcript.is_vertical_scroll_end
        self.transcript.redress()
        if isinstance(self.focused, AnswerText):
            self.call_after_refresh(self.focused.scroll_to_cursor)
        elif is_at_end:
            self.transcript.scroll_end(animate=False)

    # Tokens

    def on_token_text_inspected(self, event: TokenText.Inspected) -> None:
        text, index = event.source, event.index
        if not isinstance(text, AnswerText) or not 0 <= index < len(text.tokens):
            return
        below, beside = self.query_one("#inspector", Inspector), self.query_one("#side-inspector", Inspector)
        for inspector in (below, beside):
            inspector.show(text.tokens[index], index)
        if not below.display and self._is_narrow and index != text.hover:
            # The mouse alone does not open it: the text would jump from under it.
            below.display = True
            self.call_after_refresh(text.scroll_to_cursor)
        self._inspected = (text.node, index)
        self._picture_soon()

    def _hide_tokens(self) -> None:
        self._inspected = None
        for inspector in self.query(Inspector):
            inspector.clear()
        self.query_one("#inspector").display = False

    async def on_inspector_chosen(self, event: Inspector.Chosen) -> None:
        if self._inspected is None:
            return
        answer, index = self._inspected
        text = self.transcript.widget_of(answer.id)
        if isinstance(text, AnswerText):
            text.cursor = index
            self.force(answer, event.number)

    def on_sampling_panel_changed(self) -> None:
        self._picture_soon()

    def _picture_soon(self) -> None:
        if self._picture_timer is not None:
            self._picture_timer.stop()
        self._picture_timer = self.set_timer(PICTURE_SECONDS, self._draw_picture)

    @work(exclusive=True, group="picture")
    async def _draw_picture(self) -> None:
        """Ask for the distribution at the inspected token, else at the first of the last answer."""
        answer, index = self._inspected or (self.conversation.last_answer, 0)
        panel, picture = self.panel, self.panel.picture
        if answer is None or self.workbench.loaded is None:
            picture.clear()
            return
        if self.writing is not None or not panel.display or answer.id not in self.conversation.nodes:
            return
        question = self.conversation.nodes[answer.parent]
        rows = messages_to_json(self.conversation.messages(self.conversation.path_to(question)))
        request = Predict(
            id=self.workbench.client.new_id(),
            messages=[] if self.conversation.is_raw else rows,
            text=question.text,
            prefix_ids=answer.tokens.ids[:index],
            options=panel.values(),
        )
        reply = await self.workbench.client.ask(request)
        if isinstance(reply, Predicted):
            place = f"after {quote(answer.tokens.labels[index - 1])}" if index else "first token"
            picture.show(f"next token: {place}", reply)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"
