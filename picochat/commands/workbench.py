"""`picochat workbench`: the terminal app."""

import gc
import os
import sys
from dataclasses import dataclass

from picochat.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OpenWorkbench:
    """Chat with models, look at their tokens, and watch runs, in a terminal app."""

    load: str | None = None
    """Run (newest checkpoint), NAME@500, NAME@best, or the folder of a checkpoint to begin with."""
    runs_dir: str = "runs"
    """Folder that holds the runs."""
    chats_dir: str = "chats"
    """Folder that keeps the conversations."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    dtype: str = "auto"
    """Number format of the weights: auto, float32 or bfloat16."""
    plain: bool = False
    """Chat line by line, without colours and without moving the cursor: for screen readers. Needs --load."""

    def execute(self) -> None:
        """Run the app until the user quits."""
        if self.plain:
            self._chat_plainly()
            return
        # Textual draws on the last one.
        if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
            raise UserError("the workbench needs a terminal; `picochat chat` works in a pipe")
        if os.environ.get("TERM") == "dumb":
            raise UserError("this terminal can not move its cursor (TERM is dumb); use --plain")
        # The imports make many objects that stay: looking for garbage among them takes a tenth of the time
        # to the first frame. The app turns it on again.
        gc.disable()
        from workbench.splash import quiet_keys, splash

        with quiet_keys():
            with splash():
                from workbench.app import Workbench
                from workbench.guard import guarded_stderr

                app = Workbench(
                    load=self.load,
                    runs_dir=self.runs_dir,
                    chats_dir=self.chats_dir,
                    device=self.device,
                    dtype=self.dtype,
                )
            with guarded_stderr():
                app.run()
        sys.exit(app.return_code or 0)

    def _chat_plainly(self) -> None:
        from picochat.commands.chat import Chat

        if self.load is None:
            raise UserError("--plain needs a model: give it as --load; `picochat runs list` lists them")
        Chat(
            load=self.load, runs_dir=self.runs_dir, device=self.device, dtype=self.dtype, plain=True
        ).execute()
