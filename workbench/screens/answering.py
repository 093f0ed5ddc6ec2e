"""What all parts of the chat screen stand on: a conversation, and the answer that is written."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from textual import work
from textual.screen import Screen
from textual.timer import Timer

from picochat.engine.options import MAX_SEED
from picochat.engine.protocol import Failed, Finished, Generate, Tokens
from picochat.tokenizer.messages import messages_to_json
from workbench.conversations import ROOT, Answer, Conversation, Node, Question
from workbench.engine_client import Crashed
from workbench.store import TOKENS_PER_LINE, Store, answer_row, end_row, node_rows, token_rows
from workbench.tokens import TokenList
from workbench.visible import visible
from workbench.widgets.messages import AnswerText
from workbench.widgets.sampling import SamplingPanel
from workbench.widgets.transcript import Transcript

if TYPE_CHECKING:
    from workbench.app import Workbench

FRAME_SECONDS = 1 / 25
MOST_WORK = 0.4
"""Share of the time that drawing and all else may take while an answer is written."""
MOST_LEFT_OUT = 2
"""Frames in a row that are left out for that."""
TOKENS_PER_FRAME = 400
"""More wait for the next frame: keys come first."""


@dataclass(kw_only=True)
class Writing:
    """An answer that is being written."""

    id: int
    """Of the request."""
    answer: Answer
    widget: AnswerText
    began: float
    num_saved: int
    """Tokens that are in the file already."""
    num_new: int = 0
    num_context: int = 0
    first_at: float | None = None
    newest_at: float = field(default=0.0)
    is_stopped: bool = False
    """Whether the user wants no more of it."""

    @property
    def rate(self) -> float:
        """Tokens a second since the first."""
        if self.first_at is None or self.newest_at <= self.first_at:
            return 0.0
        return (self.num_new - 1) / (self.newest_at - self.first_at)


class Pace:
    """Leaves out frames where a machine is slow to draw them, so that keys find it idle."""

    def __init__(self) -> None:
        self._drawn_at = self._worked = 0.0
        self._left_out = 0

    def due(self) -> int:
        """Return how many frames the one to draw now stands for; none if the last one took too long."""
        now, worked = time.perf_counter(), time.thread_time()
        is_busy = worked - self._worked > MOST_WORK * (now - self._drawn_at)
        if is_busy and self._left_out < MOST_LEFT_OUT:
            self._left_out += 1
            return 0
        due, self._left_out = self._left_out + 1, 0
        self._drawn_at, self._worked = now, worked
        return due


class AnsweringScreen(Screen[None]):
    """Holds a conversation and writes answers into it."""

    def __init__(self) -> None:
        super().__init__()
        self.conversation = Conversation()
        self.writing: Writing | None = None
        self._frames: Timer | None = None
        self._is_beginning = False
        self._pace = Pace()

    @property
    def workbench(self) -> "Workbench":
        """The app."""
        return cast("Workbench", self.app)

    @property
    def store(self) -> Store:
        """Where conversations are kept."""
        return self.workbench.store

    @property
    def transcript(self) -> Transcript:
        """The messages."""
        return self.query_one(Transcript)

    @property
    def panel(self) -> SamplingPanel:
        """The sampling options."""
        return self.query_one(SamplingPanel)

    def start_frames(self) -> None:
        """Prepare to draw what is written; the clock stands still while nothing is."""
        self._frames = self.set_interval(FRAME_SECONDS, self._draw, pause=True)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is being written or about to be: conversation and path have to stay."""
        return self.writing is not None or self._is_beginning

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Be busy before there is something to write."""
        self._is_beginning = True
        try:
            yield
        finally:
            self._is_beginning = False

    def is_idle(self) -> bool:
        """Whether no answer is being written; if one is, say so."""
        if self.is_busy:
            self.notify("an answer is being written; escape stops it", severity="warning")
        return not self.is_busy

    def is_free(self) -> bool:
        """Whether an answer can begin; if not, say why."""
        if not self.is_idle():
            return False
        if self.workbench.loaded is None:
            self.notify(self.workbench.load_state, severity="warning", markup=False)
        return self.workbench.loaded is not None

    def is_still(self, conversation: Conversation) -> bool:
        """Whether this is still the conversation that is shown; if not, say what that means."""
        if self.conversation is not conversation:
            self.notify("left out: another conversation was opened meanwhile", severity="warning")
        return self.conversation is conversation

    def save(self, *rows: dict) -> None:
        """Add lines to the conversation's file; a full disk does not stop the chat."""
        try:
            self.store.write(self.conversation, *rows)
        except OSError as error:
            self.notify(
                f"not saved: {error.filename}: {error.strerror}", severity="error", markup=False, timeout=10
            )

    def add_node(self, node: Node) -> None:
        """Add a complete message."""
        self.conversation.add(node)
        self.save(*node_rows(node))

    @property
    def end_of_path(self) -> str:
        """Id of the message that the next one follows."""
        path = self.conversation.path()
        return path[-1].id if path else ROOT

    # Writing

    async def ask(self, question: Question) -> None:
        """Add a question and answer it."""
        self.add_node(question)
        await self.answer(question)

    async def answer(
        self, question: Question, prefix: TokenList | None = None, *, seed: int | None = None
    ) -> None:
        """Write one more answer to a question, beginning with the tokens of `prefix`."""
        options = self.panel.values()
        if seed is not None:
            options["seed"] = seed
        answer = Answer(parent=question.id, model=self.workbench.load_name, options=options)
        answer.tokens = prefix if prefix is not None else TokenList()
        self.conversation.add(answer)
        self.save(answer_row(answer), *token_rows(answer, 0))
        await self.go_on(answer)

    async def go_on(self, answer: Answer) -> None:
        """Let the model write on where an answer ends, which has to be the end of the path."""
        with self.beginning():
            await self.transcript.update()
            self._write(answer)

    def _write(self, answer: Answer) -> None:
        widget = self.transcript.widget_of(answer.id)
        question = self.conversation.nodes[answer.parent]
        assert isinstance(widget, AnswerText)
        assert isinstance(question, Question)
        answer.reason = ""
        widget.describe()
        rows = messages_to_json(self.conversation.messages(self.conversation.path_to(question)))
        request = Generate(
            id=self.workbench.client.new_id(),
            messages=[] if self.conversation.is_raw else rows,
            text=question.text,
            prefix_ids=answer.tokens.ids,
            options=answer.options,
        )
        self.writing = Writing(
            id=request.id,
            answer=answer,
            widget=widget,
            began=self.workbench.clock(),
            num_saved=len(answer.tokens),
        )
        self.transcript.anchor()
        if self._frames is not None:
            self._frames.resume()
        self._receive(request, self.writing)

    @work
    async def _receive(self, request: Generate, writing: Writing) -> None:
        async for reply in self.workbench.client.stream(request):
            if isinstance(reply, Tokens):
                writing.newest_at = self.workbench.clock()
                if writing.first_at is None:
                    writing.first_at = writing.newest_at
                writing.num_new += len(reply.tokens)
                writing.num_context = reply.num_context
                writing.widget.append(reply.tokens)
            elif isinstance(reply, Finished):
                await self._catch_up(writing)
                self._finish(writing, reply)
            else:
                self._fail(writing, reply)

    async def _catch_up(self, writing: Writing) -> None:
        """Leave to the frames what is not drawn yet; all of it at once would keep keys waiting."""
        while writing.widget.num_waiting > TOKENS_PER_FRAME and not writing.is_stopped:
            await asyncio.sleep(FRAME_SECONDS)

    def _finish(self, writing: Writing, reply: Finished) -> None:
        answer = writing.answer
        answer.num_tokens += reply.num_tokens
        answer.seconds += reply.seconds
        answer.first_seconds = answer.first_seconds or reply.first_seconds
        answer.seed, answer.num_context = reply.seed, reply.num_context
        self._end(writing, reply.reason)

    def _fail(self, writing: Writing, reply: object) -> None:
        self._end(writing, "interrupted")
        if isinstance(reply, Failed):
            self.notify(visible(reply.message), severity="error", markup=False, timeout=10)
        elif isinstance(reply, Crashed):
            self.workbench.tell_crash(reply)

    def _end(self, writing: Writing, reason: str) -> None:
        writing.widget.flush()
        writing.answer.reason = reason
        self.save(*token_rows(writing.answer, writing.num_saved), end_row(writing.answer))
        self.writing = None
        if self._frames is not None:
            self._frames.pause()
        writing.widget.describe()
        self.told_end(writing.answer)

    def _draw(self) -> None:
        """Show what has come since the last frame, and keep it."""
        if self.writing is None or not (due := self._pace.due()):
            return
        self.writing.widget.flush(due * TOKENS_PER_FRAME)
        answer = self.writing.answer
        if len(answer.tokens) - self.writing.num_saved >= TOKENS_PER_LINE:
            self.save(*token_rows(answer, self.writing.num_saved))
            self.writing.num_saved = len(answer.tokens)
        self.told_progress()

    def stop(self) -> bool:
        """Stop the answer that is written and keep what there is; return whether there was one."""
        if self.writing is None:
            return False
        self.writing.is_stopped = True
        self.workbench.client.cancel(self.writing.id)
        return True

    def told_progress(self) -> None:
        """More of the answer is on the screen."""

    def told_end(self, answer: Answer) -> None:
        """The answer is complete."""

    def another_seed(self, answer: Answer) -> int | None:
        """Return the seed to answer anew with: the one after the last, if the user has fixed one."""
        if self.panel.options.seed is None or answer.seed is None:
            return None
        siblings = [self.conversation.nodes[id] for id in self.conversation.siblings(answer)]
        used = [node.seed for node in siblings if isinstance(node, Answer) and node.seed is not None]
        return (max(used) + 1) % (MAX_SEED + 1)
