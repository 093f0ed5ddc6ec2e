"""What can be done with one message: edit, answer anew, go on, branch, force a token, judge, copy."""

import asyncio
from collections.abc import Callable

from textual import work

from picochat.engine.protocol import Failed, Score, Scored
from picochat.errors import UserError
from picochat.tokenizer.messages import Message, messages_to_json
from workbench.clipboard import copy
from workbench.conversations import Answer, Node, Question, parse_source
from workbench.engine_client import Crashed
from workbench.screens.answering import AnsweringScreen
from workbench.screens.dialogs import AskPage
from workbench.tokens import TokenList
from workbench.visible import visible
from workbench.widgets.messages import MessageAction
from workbench.widgets.token_text import TokenText

ENDS = ("<|assistant_end|>", "<|bos|>")
"""Tokens behind which there is nothing to go on with."""
MAY_GO_ON = ("cancelled", "length", "interrupted", "edited", "stop_string")
"""Reasons after which an answer can be gone on with in its place."""


class MessageActionsScreen(AnsweringScreen):
    """Answers the wishes of the messages."""

    async def on_message_action(self, event: MessageAction) -> None:
        event.stop()
        node = self.conversation.nodes.get(event.node_id)
        if node is None or node not in self.conversation.path():
            # It was asked before the message made room for a sibling, or for another conversation.
            return
        match event.action:
            case "edit":
                self.edit(node)
            case "copy":
                self.copy_text(node.text)
            case "before" | "next":
                await self.go_to_sibling(node, -1 if event.action == "before" else 1)
            case "regenerate":
                await self.regenerate(node)
            case "continue" if isinstance(node, Answer):
                await self.continue_answer(node)
            case "branch" if isinstance(node, Answer):
                await self.branch(node)
            case "force" if isinstance(node, Answer):
                self.force(node, event.number)
            case "good" | "bad" if isinstance(node, Answer):
                self.rate(node, 1 if event.action == "good" else -1)

    async def regenerate(self, node: Node) -> None:
        """Answer a question once more."""
        if self.is_free():
            question = node if isinstance(node, Question) else self.conversation.nodes[node.parent]
            assert isinstance(question, Question)
            seed = self.another_seed(node) if isinstance(node, Answer) else None
            await self.answer(question, seed=seed)

    async def continue_answer(self, node: Answer) -> None:
        """Let the model write on, in place if the answer was cut off and nothing follows from it yet."""
        if not self.is_free():
            return
        if node.reason in MAY_GO_ON and not self.conversation.children.get(node.id):
            await self.go_on(node)
            return
        question = self.conversation.nodes[node.parent]
        assert isinstance(question, Question)
        await self.answer(question, _without_end(node.tokens))

    async def branch(self, node: Answer) -> None:
        """Write the answer anew from the token under the cursor on."""
        text = self.transcript.widget_of(node.id)
        if isinstance(text, TokenText) and text.cursor >= 0 and self.is_free():
            question = self.conversation.nodes[node.parent]
            assert isinstance(question, Question)
            await self.answer(question, node.tokens[: text.cursor])

    @work(group="force")
    async def force(self, node: Answer, number: int) -> None:
        """Put alternative `number` in place of the token under the cursor, and go on from there."""
        conversation = self.conversation
        text = self.transcript.widget_of(node.id)
        if node not in conversation.path() or not isinstance(text, TokenText):
            return
        if text.cursor < 0 or not self.is_free():
            return
        cursor = text.cursor
        token = node.tokens[cursor]
        if number > len(token.alternatives):
            return
        other = token.alternatives[number - 1]
        if other.label in ENDS:
            self.notify("the answer would end there", severity="warning")
            return
        question = conversation.nodes[node.parent]
        assert isinstance(question, Question)
        # The model's process knows what the token means after those before it.
        scored = await self._score(question, ids=[*node.tokens.ids[:cursor], other.id])
        if scored is not None and self.is_still(conversation) and self.is_free():
            await self.answer(question, TokenList([*node.tokens[:cursor], scored.tokens[-1]]))

    async def _score(
        self, question: Question, *, ids: list[int] | None = None, message: Message | None = None
    ) -> Scored | None:
        """Ask the model what it thinks of an answer: its ids, or a message the user wrote."""
        messages = self.conversation.messages(self.conversation.path_to(question))
        rows = messages_to_json([*messages, message] if message is not None else messages)
        request = Score(
            id=self.workbench.client.new_id(),
            messages=[] if self.conversation.is_raw else rows,
            text=question.text,
            ids=ids or [],
        )
        reply = await self.workbench.client.ask(request)
        if isinstance(reply, Scored):
            return reply
        if isinstance(reply, Failed):
            self.notify(visible(reply.message), severity="error", markup=False)
        elif isinstance(reply, Crashed):
            self.workbench.tell_crash(reply)
        return None

    # Editing

    @work(group="edit")
    async def edit(self, node: Node) -> None:
        """Let the user change a message; the old one stays as a sibling."""
        if node not in self.conversation.path() or not self.is_free():
            return
        if isinstance(node, Question):
            text = await self._ask_page("edit your message", node.text)
            if text and text.strip():
                await self.ask(Question(parent=node.parent, text=text))
        elif self.conversation.is_raw:
            await self._edit_raw(node)
        else:
            await self._edit_answer(node)

    async def _ask_page(self, question: str, text: str) -> str | None:
        """Return what the user makes of a text; None if there is nothing to be done with it."""
        conversation = self.conversation
        new = await self.app.push_screen_wait(AskPage(question, text))
        return new if new is not None and self.is_still(conversation) and self.is_free() else None

    async def _edit_raw(self, node: Answer) -> None:
        """Edit a text together with what was written after it, and go on."""
        question = self.conversation.nodes[node.parent]
        text = await self._ask_page("edit the text", question.text + node.source)
        if text and text.strip():
            await self.ask(Question(parent=question.parent, text=text))

    async def _edit_answer(self, node: Answer) -> None:
        question = self.conversation.nodes[node.parent]
        assert isinstance(question, Question)
        source = await self._ask_page("edit the answer", node.source)
        if source is None or source == node.source:
            return
        try:
            parts = parse_source(source)
        except UserError as error:
            self.notify(visible(str(error)), severity="error", markup=False)
            return
        with self.beginning():
            scored = await self._score(question, message=Message(role="assistant", parts=tuple(parts)))
        if scored is None:
            return
        edited = Answer(parent=question.id, model=node.model, options=node.options, reason="edited")
        edited.tokens = TokenList(scored.tokens)
        self.add_node(edited)
        await self.transcript.update()
        self.focus_message(edited)

    # Siblings, judging, copying

    async def go_to_sibling(self, node: Node, distance: int) -> None:
        """Let the path go through another message at the same place."""
        if not self.is_idle():
            return
        siblings = self.conversation.siblings(node)
        other = self.conversation.nodes[siblings[(siblings.index(node.id) + distance) % len(siblings)]]
        if other is node:
            self.notify("there is no other message here yet; r answers anew, e edits", timeout=3)
            return
        self.conversation.chosen[node.parent] = other.id
        self.save({"type": "chosen", "id": other.id})
        await self.transcript.update()
        self.focus_message(other)

    def focus_message(self, node: Node) -> None:
        """Go to a message."""
        widget = self.transcript.widget_of(node.id)
        if widget is not None:
            widget.focus()

    def rate(self, node: Answer, rating: int) -> None:
        """Judge an answer; the same judgement once more takes it back."""
        node.rating = 0 if node.rating == rating else rating
        self.save({"type": "rating", "id": node.id, "rating": node.rating})
        for text in self.transcript.answers:
            if text.node is node:
                text.describe()

    @work(group="copy")
    async def copy_text(self, text: str) -> None:
        """Copy a text in every way there is."""
        driver = self.app._driver
        write: Callable[[str], object] | None = None if driver is None else driver.write
        path = self.store.folder / "copied.txt"
        try:
            places = await asyncio.to_thread(copy, text, path, write)
        except OSError as error:
            self.notify(f"{path}: {error.strerror}", severity="error", markup=False)
            return
        self.notify(f"copied to {', '.join(places)}", markup=False, timeout=4)

    @property
    def last_question(self) -> Question | None:
        """The newest question of the path."""
        path = self.conversation.path()
        return next((node for node in reversed(path) if isinstance(node, Question)), None)


def _without_end(tokens: TokenList) -> TokenList:
    """Return the tokens up to the one that ended the answer."""
    end = len(tokens)
    while end and tokens.labels[end - 1] in ENDS:
        end -= 1
    return tokens[:end]
