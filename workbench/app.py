"""The terminal app."""

from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from picochat.engine.protocol import Failed, Load, Loaded
from workbench.conversations import Store
from workbench.engine_client import COMMAND, Crashed, EngineClient
from workbench.screens.chat import ChatScreen
from workbench.screens.checkpoints import CheckpointsScreen
from workbench.screens.compare import CompareScreen
from workbench.screens.dialogs import Confirm, Help
from workbench.screens.monitor import MonitorScreen
from workbench.screens.tensors import TensorsScreen
from workbench.visible import visible


class Workbench(App[None]):
    """Chat with what was trained, and look inside it."""

    CSS_PATH = "styles.tcss"
    TITLE = "picochat workbench"
    MODES: ClassVar = {
        "chat": ChatScreen,
        "checkpoints": CheckpointsScreen,
        "monitor": MonitorScreen,
        "compare": CompareScreen,
        "tensors": TensorsScreen,
    }
    DEFAULT_MODE = "chat"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help"),
        Binding("f2", "switch_mode('chat')", "Chat"),
        Binding("f3", "switch_mode('checkpoints')", "Checkpoints"),
        Binding("f4", "switch_mode('monitor')", "Monitor"),
        Binding("ctrl+q", "quit", "Quit", priority=True),
    ]

    def __init__(
        self,
        *,
        load: str | None = None,
        runs_dir: str = "runs",
        chats_dir: str = "chats",
        device: str = "auto",
        dtype: str = "auto",
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        super().__init__()
        self.theme = "tokyo-night"
        self.runs_dir = Path(runs_dir)
        self.store = Store(Path(chats_dir))
        self.client = EngineClient(command)
        self.loaded: Loaded | None = None
        self.load_name = load or ""
        self.load_state = "no model; F3 lists the checkpoints"
        self._device = device
        self._dtype = dtype

    def on_mount(self) -> None:
        if self.load_name:
            self.open_checkpoint(self.load_name)

    @work(exclusive=True, group="load")
    async def open_checkpoint(self, name: str) -> None:
        """Load a checkpoint in the place of the one that is open."""
        self.loaded, self.load_name, self.load_state = None, name, f"loading {visible(name)} …"
        self._update_status()
        request = Load(
            id=self.client.new_id(),
            path=name,
            runs_dir=str(self.runs_dir),
            device=self._device,
            dtype=self._dtype,
        )
        reply = await self.client.ask(request)
        if isinstance(reply, Loaded):
            self.loaded = reply
        elif isinstance(reply, Failed):
            self.load_state = "no model; F3 lists the checkpoints"
            self.notify(visible(reply.message), severity="error", markup=False)
        elif isinstance(reply, Crashed):
            self.tell_crash(reply)
        self._update_status()

    def _update_status(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ChatScreen) and screen.is_mounted:
                screen.update_status()

    @work
    async def tell_crash(self, crash: Crashed) -> None:
        """Show what the model's process said last, and offer to start it again."""
        self.loaded, self.load_state = None, "the model's process has ended"
        self._update_status()
        said = visible("\n".join(crash.lines)) or "(it said nothing)"
        question = f"the model's process ended with code {crash.code}:\n\n{said}\n\nstart it again?"
        if await self.push_screen_wait(Confirm(question)):
            self.open_checkpoint(self.load_name)

    def action_help(self) -> None:
        """Show the keys that work here."""
        found: dict[str, str] = {}
        # Those of the focused widget come last.
        bindings = self.screen.active_bindings.values()
        for active in sorted(bindings, key=lambda active: not isinstance(active.node, App | Screen)):
            if active.binding.description:
                key = self.get_key_display(active.binding)
                found.setdefault(key, active.binding.description)
        self.push_screen(Help(list(found.items())))

    async def on_unmount(self) -> None:
        await self.client.close()
