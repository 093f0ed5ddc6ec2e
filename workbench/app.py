"""The terminal app."""

import gc
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import constants, events, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.reactive import reactive
from textual.screen import Screen

from picochat.engine.protocol import Failed, Load, Loaded
from picochat.errors import UserError
from picochat.train.run_dir import list_runs, run_of
from workbench.colours import RAMPS
from workbench.config import Settings, check_keys, choose_known, config_folder, read_settings, remember
from workbench.engine_client import COMMAND, Crashed, EngineClient
from workbench.keys import known_actions, told_keys
from workbench.modes import MODES
from workbench.screens.chat import ChatScreen
from workbench.screens.dialogs import Confirm, Help
from workbench.store import History, Store
from workbench.themes import ANSI, THEMES
from workbench.visible import visible

NO_MODEL = "no model; F3 lists the checkpoints"
QUIT_SECONDS = 2.0
"""How soon a second Ctrl-C has to follow to quit."""


class Workbench(App[None]):
    """Chat with what was trained, and look inside it."""

    CSS_PATH = Path(__file__).with_name("styles.tcss")
    TITLE = "picochat workbench"
    PAUSE_GC_ON_SCROLL = True
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = MODES
    # Textual writes `ClassVar[...] | None`, which a type checker takes for an instance's.
    HORIZONTAL_BREAKPOINTS: ClassVar = [(0, "-narrow"), (100, "-wide")]  # pyright: ignore[reportIncompatibleVariableOverride]
    VERTICAL_BREAKPOINTS: ClassVar = [(0, "-low"), (32, "-high")]  # pyright: ignore[reportIncompatibleVariableOverride]
    DEFAULT_MODE = "chat"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help", id="help"),
        Binding("f2", "switch_mode('chat')", "Chat", show=False, id="chat"),
        Binding("f3", "switch_mode('checkpoints')", "Checkpoints", show=False, id="checkpoints"),
        Binding("f4", "switch_mode('monitor')", "Monitor", show=False, id="monitor"),
        Binding("alt+d", "switch_mode('compare')", "Compare two checkpoints", show=False, id="compare"),
        Binding("alt+t", "switch_mode('tensors')", "Tensors", show=False, id="tensors"),
        Binding("ctrl+p", "command_palette", "Commands", id="palette", priority=True),
        Binding("ctrl+q", "quit", "Quit", show=False, id="quit", priority=True),
        Binding("ctrl+c", "interrupt", "Copy, stop, or quit", show=False, id="interrupt", priority=True),
    ]
    ramp: reactive[str] = reactive("blue-orange", init=False)
    """Colours of likely and unlikely tokens, a name of `colours.RAMPS`."""

    def __init__(
        self,
        *,
        load: str | None = None,
        runs_dir: str = "runs",
        chats_dir: str = "chats",
        device: str = "auto",
        dtype: str = "auto",
        command: tuple[str, ...] = COMMAND,
        settings_dir: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.runs_dir = Path(runs_dir)
        self.store = Store(Path(chats_dir))
        self.history = History(Path(chats_dir) / "history.jsonl")
        self.config_folder = settings_dir or config_folder()
        self.client = EngineClient(command)
        self.clock = clock
        self.loaded: Loaded | None = None
        self.load_name = load or ""
        self.load_state = NO_MODEL
        self.is_loading = False
        self._device = device
        self._dtype = dtype
        self._quit_at = -QUIT_SECONDS
        self._mistake = ""
        self._apply_settings()

    def get_driver_class(self) -> type[Driver]:
        """Return what reads the keys: on Unix one that tells the escape key sooner than Textual's."""
        if sys.platform == "win32" or constants.DRIVER is not None:  # another that the user has set
            return super().get_driver_class()
        from workbench.driver import QuickEscapeDriver

        return QuickEscapeDriver

    async def on_event(self, event: events.Event) -> None:
        """Take an event; Alt with a letter is a key, and no text.

        In terminals without the kitty protocol Textual gives it the letter, and types it where text is typed.
        """
        if isinstance(event, events.Key) and event.key.startswith("alt+"):
            event.character = None
        await super().on_event(event)

    # Settings

    def _apply_settings(self) -> None:
        """Take what the user has set; a mistake there is told and does no harm."""
        settings = Settings()
        self.theme = "dark"
        try:
            settings = read_settings(self.config_folder)
            if settings.theme:
                known = {*self.available_themes, *ANSI}
                name = choose_known(settings.theme, known, what="theme")
                self.theme = ANSI.get(name, name)
            if settings.colours:
                self.set_reactive(Workbench.ramp, choose_known(settings.colours, RAMPS, what="colours"))
            if settings.keys:
                check_keys(settings.keys, known_actions(type(self)))
                self.set_keymap(dict(settings.keys))
        except UserError as error:
            self._mistake = str(error)
        self._kept_theme = self.theme

    def watch_theme(self, theme: str) -> None:
        if self.is_running and theme != self._kept_theme:
            self._kept_theme = theme
            self._remember(theme=theme)

    def watch_ramp(self, ramp: str) -> None:
        for screen in self.screen_stack:
            screen.refresh(layout=True)
        self._remember(colours=ramp)

    def _remember(self, **chosen: str) -> None:
        try:
            remember(self.config_folder, **chosen)
        except OSError as error:
            self.notify(f"{error.filename}: {error.strerror}", severity="warning", markup=False)

    def on_mount(self) -> None:
        self.call_after_refresh(_collect_garbage)
        if self._mistake:
            self.notify(visible(self._mistake), severity="error", markup=False, timeout=15)
        if self.load_name:
            self.open_checkpoint(self.load_name)

    # The model

    @work(exclusive=True, group="load")
    async def open_checkpoint(self, name: str) -> None:
        """Load a checkpoint in the place of the one that is open."""
        self.loaded, self.load_name, self.load_state = None, name, f"loading {visible(name)} …"
        self.is_loading = True
        await self._tell_chat()
        request = Load(
            id=self.client.new_id(),
            path=name,
            runs_dir=str(self.runs_dir),
            device=self._device,
            dtype=self._dtype,
        )
        reply = await self.client.ask(request)
        self.is_loading = False
        if isinstance(reply, Loaded):
            self.loaded = reply
        elif isinstance(reply, Failed):
            self.load_state = NO_MODEL
            self.notify(visible(reply.message), severity="error", markup=False, timeout=10)
        elif isinstance(reply, Crashed):
            self.tell_crash(reply)
        await self._tell_chat()

    async def _tell_chat(self) -> None:
        is_base = self.loaded is not None and _is_base(Path(self.loaded.path))
        for screen in self._mode_screens("chat"):
            if isinstance(screen, ChatScreen) and screen.is_mounted:
                await screen.told_loaded(self.loaded, is_base=is_base)

    def _mode_screens(self, mode: str) -> list[Screen]:
        return list(self._screen_stacks.get(mode, []))

    @work
    async def tell_crash(self, crash: Crashed) -> None:
        """Show what the model's process said last, and offer to start it again."""
        self.loaded, self.load_state = None, "the model's process has ended; ^P, Load"
        await self._tell_chat()
        said = visible("\n".join(crash.lines)) or "(it said nothing)"
        question = f"the model's process ended with code {crash.code}:\n\n{said}\n\nstart it again?"
        if await self.push_screen_wait(Confirm(question)):
            self.open_checkpoint(self.load_name)

    # Keys and commands

    def action_interrupt(self) -> None:
        """Copy what is selected, or stop what is going on, or quit when asked twice."""
        selected = self.screen.get_selected_text() or getattr(self.focused, "selected_text", "")
        interrupt = getattr(self.screen, "interrupt", None)
        if selected:
            self.copy_to_clipboard(selected)
        elif interrupt is None or not interrupt():
            if self.clock() - self._quit_at < QUIT_SECONDS:
                self.exit()
            self._quit_at = self.clock()
            self.notify("ctrl+c again quits", timeout=QUIT_SECONDS)

    def copy_to_clipboard(self, text: str) -> None:
        """Copy in every way there is, also from text areas."""
        self._clipboard = text
        for screen in self._mode_screens("chat"):
            if isinstance(screen, ChatScreen):
                screen.copy_text(text)

    def action_help(self) -> None:
        """Show the keys that work here."""
        note = f"The names at the right stand in [keys] of {self.config_folder / 'workbench.toml'}."
        self.push_screen(Help(told_keys(self), note))

    def get_system_commands(self, screen: Screen) -> Iterable[SystemCommand]:
        """Everything that keys do, and more that has none."""
        for active in screen.active_bindings.values():
            binding, node = active.binding, active.node
            if binding.description and active.enabled:
                key = self.get_key_display(binding)
                yield SystemCommand(binding.description, f"key {key}", _runner(self, binding.action, node))
        for ramp in RAMPS:
            what = "of likely and unlikely tokens"
            yield SystemCommand(f"Token colours: {ramp}", what, partial(self._set_ramp, ramp))
        for name in self._loadable():
            what = "chat with this checkpoint"
            yield SystemCommand(f"Load {name}", what, partial(self.open_checkpoint, name))
        if self.load_name:
            restart = partial(self.open_checkpoint, self.load_name)
            yield SystemCommand("Load anew", "the same checkpoint, after a crash or a change", restart)
        yield SystemCommand("Engine log", "what the model's process has said", self._show_log)
        yield SystemCommand("Theme", "dark, light, contrast, the terminal's own", self.action_change_theme)

    def _set_ramp(self, ramp: str) -> None:
        self.ramp = ramp

    def _loadable(self) -> list[str]:
        try:
            return [run.name for run in list_runs(self.runs_dir) if run.checkpoints()]
        except (UserError, OSError):
            return []

    def _show_log(self) -> None:
        lines = "\n".join(self.client.log) or "(nothing)"
        self.push_screen(Help([], visible(lines)))

    async def on_unmount(self) -> None:
        await self.client.close()


def _collect_garbage() -> None:
    """Look for garbage from now on, but not among what the start has made."""
    gc.freeze()
    gc.enable()


def _runner(app: App[None], action: str, node: object) -> Callable[[], object]:
    async def run() -> None:
        await app.run_action(action, node)  # type: ignore[arg-type]

    return lambda: app.call_next(run)


def _is_base(checkpoint: Path) -> bool:
    """Whether a checkpoint's run has only read texts."""
    run = run_of(checkpoint)
    try:
        return run is not None and run.info()["stage"] == "pretrain"
    except (UserError, OSError, KeyError):
        return False
