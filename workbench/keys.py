"""Which keys do what: for the help, and for the user's own keys."""

from collections.abc import Iterator, Sequence
from typing import Any

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from workbench.config import Action
from workbench.modes import CLASSES, screen_class


def known_actions(app: type[App[Any]]) -> dict[str, Action]:
    """Return every action that has a name, of the app, its screens and its widgets."""
    from workbench.screens.dialogs import AskPage, Choose
    from workbench.screens.score import ScoreScreen
    from workbench.widgets.messages import AnswerText, QuestionText
    from workbench.widgets.token_text import TokenText
    from workbench.widgets.transcript import Earlier

    scopes: dict[str, Sequence[type[DOMNode]]] = {
        "app": (app,),
        **{mode: (screen_class(mode),) for mode in CLASSES},
        # Their keys are letters, which the prompt takes for itself.
        "messages": (AnswerText, QuestionText, TokenText, Earlier),
        "page": (AskPage,),
        "list": (Choose,),
        "score": (ScoreScreen,),
    }
    return {
        binding.id: Action(scope, binding.key)
        for scope, classes in scopes.items()
        for kind in classes
        for binding in named_bindings(kind)
        if binding.id
    }


def named_bindings(kind: type[DOMNode]) -> Iterator[Binding]:
    """Yield the bindings of a class that have a name."""
    for binding in kind.BINDINGS:
        if isinstance(binding, Binding) and binding.id:
            yield binding


def told_keys(app: App[Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the keys that work now, in groups: (key, what it does, name for the settings)."""
    headings = ("here", "this screen", "everywhere", "moving and editing")
    groups: dict[str, dict[str, tuple[str, str, str]]] = {heading: {} for heading in headings}
    for active in app.screen.active_bindings.values():
        binding = active.binding
        if not binding.description:
            continue
        heading = "here"
        if not binding.id:
            # Keys that Textual gives to its own widgets.
            heading = "moving and editing"
        elif isinstance(active.node, App):
            heading = "everywhere"
        elif isinstance(active.node, Screen):
            heading = "this screen"
        key = app.get_key_display(binding)
        before = groups[heading].get(binding.description)
        keys = key if before is None else f"{before[0]} {key}"
        groups[heading][binding.description] = (keys, binding.description, binding.id or "")
    return [(heading, list(rows.values())) for heading, rows in groups.items() if rows]
