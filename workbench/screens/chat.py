"""Chat with a model, and look at each token of what it says."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from picochat.engine.protocol import Failed, Finished, Generate, TokenInfo, Tokens
from picochat.errors import UserError
from picochat.tokenizer.messages import messages_to_json
from workbench.conversations import Answer, Conversation, Turn
from workbench.engine_client import Crashed
from workbench.screens.dialogs import Ask, Choose, Confirm
from workbench.visible import visible
from workbench.widgets.inspector import Inspector
from workbench.widgets.prompt import Prompt
from workbench.widgets.sampling import SamplingPanel
from workbench.widgets.token_text import TokenText

if TYPE_CHECKING:
    from workbench.app import Workbench

FRAME_SECONDS = 1 / 25
ENDS = ("<|assistant_end|>", "<|bos|>")
"""Tokens behind which there is nothing to go on with."""


class ChatScreen(Screen[None]):
    """One conversation."""

    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-narrow"), (100, "-wide")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop"),
        Binding("f5", "panel", "Sampling"),
        # A text area has these two for itself.
        Binding("f6", "colours", "Colours", priority=True),
        Binding("f7", "raw", "Raw tokens", show=False, priority=True),
        Binding("f8", "thinking", "Thinking", show=False),
        Binding("f9", "export", "Export as Markdown or SFT JSONL", show=False),
        Binding("ctrl+r", "regenerate", "Regenerate"),
        Binding("ctrl+g", "edit", "Edit the last question", show=False),
        Binding("ctrl+n", "new", "New"),
        Binding("ctrl+o", "open", "Open"),
        Binding("ctrl+t", "mode", "Chat or raw completion", show=False),
        Binding("ctrl+s", "system", "System prompt", show=False),
        Binding("f10", "rename", "Rename the conversation", show=False),
        Binding("f12", "delete", "Delete the conversation", show=False),
        Binding("less_than_sign", "sibling(-1)", "Answer before (outside of the prompt)", show=False),
        Binding("greater_than_sign", "sibling(1)", "Next answer (outside of the prompt)", show=False),
        *[
            Binding(str(k), f"force({k})", f"Put alternative {k} there and go on", show=False)
            for k in range(1, 6)
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.conversation = Conversation()
        self.running: int | None = None
        """The request that is being answered."""
        self._facts = ""
        self._is_coloured = self._is_raw = self._shows_thinking = False

    @property
    def workbench(self) -> "Workbench":
        """The app."""
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield Static(id="status", markup=False)
        with Horizontal():
            with Vertical():
                yield VerticalScroll(id="conversation", can_focus=False)
                yield Inspector(id="inspector")
                yield Prompt(id="prompt")
            yield SamplingPanel(id="sampling")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#inspector").display = False
        self.query_one(Prompt).focus()
        self.update_status()
        self.set_interval(FRAME_SECONDS, self._draw)

    def on_screen_resume(self) -> None:
        self.update_status()

    def _draw(self) -> None:
        if self.running is not None:
            self.answers[-1].flush()

    @property
    def answers(self) -> Sequence[TokenText]:
        """The answers on the screen, in order."""
        return list(self.query(TokenText))

    def update_status(self) -> None:
        """Say what is loaded and how it does."""
        loaded = self.workbench.loaded
        model = self.workbench.load_state
        if loaded is not None:
            model = f"● {self.workbench.load_name}  {loaded.num_parameters / 1e6:.1f}M"
            model += f"  {loaded.context} tokens of context  {loaded.device} {loaded.dtype}"
        mode = "raw completion" if self.conversation.is_raw else visible(self.conversation.name)
        self.query_one("#status", Static).update(f"{model}   {mode}   {self._facts}")

    # The conversation

    async def show(self, conversation: Conversation) -> None:
        """Show another conversation."""
        self.conversation = conversation
        place = self.query_one("#conversation", VerticalScroll)
        await place.remove_children()
        for turn in conversation.turns:
            await self._mount_turn(turn)
        self.query_one("#inspector").display = False
        self.update_status()
        place.scroll_end(animate=False)

    async def _mount_turn(self, turn: Turn) -> TokenText:
        place = self.query_one("#conversation", VerticalScroll)
        text = TokenText(classes="answer")
        text.is_coloured, text.is_raw = self._is_coloured, self._is_raw
        text.shows_thinking = self._shows_thinking
        await place.mount(Static(visible(turn.question), classes="question", markup=False), text)
        if turn.answers:
            text.replace(turn.answers[turn.chosen].tokens)
        return text

    async def on_prompt_sent(self, event: Prompt.Sent) -> None:
        if not self._is_free():
            return
        self.query_one(Prompt).remember(event.text)
        self.conversation.turns.append(Turn(question=event.text))
        await self._mount_turn(self.conversation.turns[-1])
        self.answer(len(self.conversation.turns) - 1, [])

    def _is_free(self) -> bool:
        if self.running is not None:
            self.notify("an answer is being written; escape stops it", severity="warning")
        elif self.workbench.loaded is None:
            self.notify("no model is loaded; F3 lists the checkpoints", severity="warning")
        return self.running is None and self.workbench.loaded is not None

    def answer(self, index: int, prefix: list[TokenInfo]) -> None:
        """Write an answer to a turn, beginning with the tokens of `prefix`."""
        turn, text = self.conversation.turns[index], self.answers[index]
        options = self.query_one(SamplingPanel).values()
        answer = Answer(tokens=list(prefix), model=self.workbench.load_name, options=options)
        turn.answers.append(answer)
        turn.chosen = len(turn.answers) - 1
        text.replace(prefix)
        rows = messages_to_json(self.conversation.messages(up_to=index))
        request = Generate(
            id=self.workbench.client.new_id(),
            messages=[] if self.conversation.is_raw else rows,
            text=turn.question,
            prefix_ids=[token.id for token in prefix],
            options=options,
        )
        self.running = request.id
        self.query_one("#conversation", VerticalScroll).anchor()
        self._receive(request, answer, text)

    @work
    async def _receive(self, request: Generate, answer: Answer, text: TokenText) -> None:
        async for reply in self.workbench.client.stream(request):
            if isinstance(reply, Tokens):
                answer.tokens += reply.tokens
                text.append(reply.tokens)
            elif isinstance(reply, Finished):
                answer.reason, answer.seed, answer.seconds = reply.reason, reply.seed, reply.seconds
                self._tell(reply)
            elif isinstance(reply, Failed):
                self.notify(visible(reply.message), severity="error", markup=False)
            elif isinstance(reply, Crashed):
                self.workbench.tell_crash(reply)
        text.flush()
        self.running = None
        self.workbench.store.save(self.conversation)
        self.update_status()

    def _tell(self, reply: Finished) -> None:
        rate = reply.num_tokens / max(reply.seconds - reply.first_seconds, 1e-6)
        loaded = self.workbench.loaded
        context = loaded.context if loaded is not None else reply.num_context
        self._facts = (
            f"{rate:.0f} tok/s  first {reply.first_seconds * 1000:.0f} ms  "
            f"context {reply.num_context / context:.0%}  {reply.reason}"
        )

    # Keys

    def action_stop(self) -> None:
        """Stop the answer and keep what there is; without one, go back to the prompt."""
        if self.running is not None:
            self.workbench.client.cancel(self.running)
        else:
            self.query_one("#inspector").display = False
            self.query_one(Prompt).focus()

    def action_regenerate(self) -> None:
        """Answer the last question once more."""
        if self.conversation.turns and self._is_free():
            self.answer(len(self.conversation.turns) - 1, [])

    async def action_edit(self) -> None:
        """Take the last question back into the prompt."""
        if self.conversation.turns and self.running is None:
            turn = self.conversation.turns.pop()
            await self.show(self.conversation)
            self.query_one(Prompt).text = turn.question
            self.query_one(Prompt).focus()

    async def action_sibling(self, distance: int) -> None:
        """Show another answer to the last question."""
        if self.running is None and self.conversation.turns:
            turn = self.conversation.turns[-1]
            turn.chosen = (turn.chosen + distance) % max(len(turn.answers), 1)
            if turn.answers:
                self.answers[-1].replace(turn.answers[turn.chosen].tokens)
                self.notify(f"answer {turn.chosen + 1} of {len(turn.answers)}", timeout=2)

    async def action_new(self) -> None:
        """Begin a new conversation."""
        if self.running is None:
            new = Conversation(system=self.conversation.system, is_raw=self.conversation.is_raw)
            await self.show(new)
            self.query_one(Prompt).focus()

    async def action_mode(self) -> None:
        """Change between chat and raw completion, in a new conversation."""
        if self.running is None:
            await self.show(Conversation(is_raw=not self.conversation.is_raw))

    @work
    async def action_open(self) -> None:
        """Search the conversations that were kept."""
        store = self.workbench.store

        def find(words: str) -> list[tuple[str, str]]:
            return [(found.id, found.name) for found in store.find(words)]

        chosen = await self.app.push_screen_wait(Choose("conversations", find))
        if chosen is not None and self.running is None:
            await self.show(next(found for found in store.find() if found.id == chosen))

    @work
    async def action_rename(self) -> None:
        """Give the conversation another title."""
        title = await self.app.push_screen_wait(Ask("title", self.conversation.name))
        if title is not None:
            self.conversation.title = title
            self.workbench.store.save(self.conversation)
            self.update_status()

    @work
    async def action_delete(self) -> None:
        """Delete the conversation."""
        question = f"delete the conversation {visible(self.conversation.name)!r}?"
        if self.running is None and await self.app.push_screen_wait(Confirm(question)):
            self.workbench.store.delete(self.conversation)
            await self.show(Conversation())

    @work
    async def action_system(self) -> None:
        """Set the system prompt of this conversation."""
        system = await self.app.push_screen_wait(Ask("system prompt", self.conversation.system))
        if system is not None:
            self.conversation.system = system

    @work
    async def action_export(self) -> None:
        """Write the conversation to a file."""
        path = await self.app.push_screen_wait(
            Ask("export to (.md, or .jsonl for SFT)", f"{self.conversation.id}.md")
        )
        if path is None:
            return
        try:
            self.conversation.export(Path(path))
        except (UserError, OSError) as error:
            self.notify(visible(str(error)), severity="error", markup=False)
        else:
            self.notify(f"exported to {visible(path)}", markup=False)

    def action_panel(self) -> None:
        """Show the sampling options and go to them, or hide them."""
        panel = self.query_one(SamplingPanel)
        panel.set_class(not panel.has_class("shown"), "shown")
        if panel.has_class("shown"):
            panel.query("OptionRow").first().focus()
        else:
            self.query_one(Prompt).focus()

    def action_colours(self) -> None:
        """Colour answers by the probability of their tokens."""
        self._is_coloured = not self._is_coloured
        for text in self.answers:
            text.is_coloured = self._is_coloured
            text.refresh()

    def action_raw(self) -> None:
        """Show tokens as they are, control tokens and borders too."""
        self._is_raw = not self._is_raw
        for text in self.answers:
            text.is_raw = self._is_raw
            text.rewrap()

    def action_thinking(self) -> None:
        """Open or close what models think before they answer."""
        self._shows_thinking = not self._shows_thinking
        for text in self.answers:
            text.shows_thinking = self._shows_thinking
            text.rewrap()

    # Tokens

    def on_token_text_inspected(self, event: TokenText.Inspected) -> None:
        inspector = self.query_one(Inspector)
        inspector.display = True
        inspector.show(event.source.tokens[event.index], event.index)

    async def action_force(self, number: int) -> None:
        """Put alternative `number` in place of the token under the cursor, and go on from there."""
        text = self.focused
        if not isinstance(text, TokenText) or text.cursor < 0 or not self._is_free():
            return
        token = text.tokens[text.cursor]
        if number > len(token.alternatives):
            return
        other = token.alternatives[number - 1]
        if other.label in ENDS:
            self.notify("the answer would end there", severity="warning")
            return
        index = self.answers.index(text)
        is_control = other.label.startswith("<|") and other.label.endswith("|>")
        kind = "control" if is_control else token.kind if token.kind != "control" else "text"
        forced = TokenInfo(
            id=other.id,
            kind=kind,
            text="" if is_control else other.label,
            label=other.label,
            logprob=other.logprob,
            alternatives=token.alternatives,
        )
        prefix = [*text.tokens[: text.cursor], forced]
        if index < len(self.conversation.turns) - 1:
            # What was said after an answer that now is another does not follow from it.
            del self.conversation.turns[index + 1 :]
            await self.show(self.conversation)
        self.answer(index, prefix)
