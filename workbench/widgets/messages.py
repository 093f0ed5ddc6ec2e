"""A question and an answer of a conversation: one widget each."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from picochat.engine.options import SamplingOptions
from workbench.conversations import Answer, Conversation, Question
from workbench.visible import number_text, visible
from workbench.widgets.token_text import TokenText

RATINGS = {1: "▲ good", -1: "▼ bad"}
TOLD_IF_CHANGED = ("top_k", "top_p", "min_p", "repetition_penalty", "max_tokens", "thinking_budget")
"""Options whose usual values go without saying."""
MESSAGE_BINDINGS: list[BindingType] = [
    Binding("e", "act('edit')", "Edit", id="edit"),
    Binding("c,y", "act('copy')", "Copy", id="copy"),
    Binding("less_than_sign,comma", "act('before')", "Sibling before", show=False, id="sibling_before"),
    Binding("greater_than_sign,full_stop", "act('next')", "Next sibling", show=False, id="sibling_next"),
    Binding("r", "act('regenerate')", "Answer anew", show=False, id="answer_anew"),
]


class MessageAction(Message):
    """The user wants something done with a message."""

    def __init__(self, node_id: str, action: str, number: int = 0) -> None:
        super().__init__()
        self.node_id = node_id
        self.action = action
        self.number = number


class QuestionText(Static, can_focus=True):
    """What the user said."""

    DEFAULT_CSS = """
    QuestionText {
        height: auto; margin: 0 0 1 0; padding: 0 1; color: $text; background: $panel 60%;
        border-left: outer $primary;
        &:focus { border-left: outer $accent; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *MESSAGE_BINDINGS,
        Binding("up,k", "screen.focus_previous", "Message before", show=False, id="message_up"),
        Binding("down,j", "screen.focus_next", "Next message", show=False, id="message_down"),
    ]

    def __init__(self, conversation: Conversation, question: Question) -> None:
        place = place_among_siblings(conversation, question)
        text = Text(visible(question.text))
        if place:
            text.append(f"  {place}", "dim")
        super().__init__(text, markup=False)
        self.node = question

    def action_act(self, action: str) -> None:
        """Ask for something to be done with this message."""
        self.post_message(MessageAction(self.node.id, action))


class AnswerText(TokenText):
    """What the model said, with a line of what made it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *MESSAGE_BINDINGS,
        Binding("m", "act('continue')", "Go on", id="continue_answer"),
        Binding("b", "act('branch')", "Branch here", id="branch"),
        Binding("t", "toggle_thinking", "Thinking", show=False, id="toggle_thinking"),
        Binding("plus", "act('good')", "Good", show=False, id="good"),
        Binding("minus", "act('bad')", "Bad", show=False, id="bad"),
        *[
            Binding(str(k), f"force({k})", f"Put alternative {k} there", show=False, id=f"force_{k}")
            for k in range(1, 6)
        ],
    ]

    def __init__(self, conversation: Conversation, node: Answer) -> None:
        super().__init__(classes="answer")
        self.conversation = conversation
        self.node = node
        # One list for both: what is drawn is what is kept.
        self.tokens = node.tokens

    def on_mount(self) -> None:
        self.describe()

    def describe(self) -> None:
        """Say what made the answer, once it is complete."""
        node = self.node
        self.set_over(bool(node.reason))
        if not node.reason:
            self.footer = ""
            return
        facts = [place_among_siblings(self.conversation, node), RATINGS.get(node.rating, "")]
        facts.append("" if node.reason == "stop" else REASONS.get(node.reason, node.reason))
        facts += [visible(node.model), *changed_options(node.options)]
        facts.append("" if node.seed is None else f"seed {node.seed}")
        facts.append(f"{len(node.tokens)} tokens")
        facts.append(f"{node.rate:.0f} tok/s" if node.num_tokens > 1 else "")
        self.footer = " · ".join(fact for fact in facts if fact)
        self.refresh(layout=True)

    def action_act(self, action: str) -> None:
        """Ask for something to be done with this message."""
        self.post_message(MessageAction(self.node.id, action))

    def action_force(self, number: int) -> None:
        """Ask for an alternative in the place of the token under the cursor."""
        self.post_message(MessageAction(self.node.id, "force", number))


REASONS = {
    "length": "max tokens reached",
    "context": "context full",
    "cancelled": "stopped",
    "stop_string": "stop string",
}


def changed_options(options: Mapping[str, Any]) -> list[str]:
    """Return the temperature, and the other options as far as they are not the usual ones."""
    told = [f"T {options['temperature']:g}"] if "temperature" in options else []
    usual = SamplingOptions()
    for name in TOLD_IF_CHANGED:
        value = options.get(name, getattr(usual, name))
        if value != getattr(usual, name):
            told.append(f"{name.replace('_', '-')} {number_text(value)}")
    return told


def place_among_siblings(conversation: Conversation, node: Question | Answer) -> str:
    """Return ‹2/3› for the second of three messages at a place, nothing for the only one."""
    siblings = conversation.siblings(node)
    return f"‹{siblings.index(node.id) + 1}/{len(siblings)}›" if len(siblings) > 1 else ""
