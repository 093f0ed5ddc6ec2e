"""`picochat workbench`: the terminal app."""

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

    def execute(self) -> None:
        """Run the app until the user quits."""
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UserError("the workbench needs a terminal; `picochat chat` works in a pipe")
        from workbench.app import Workbench

        app = Workbench(
            load=self.load,
            runs_dir=self.runs_dir,
            chats_dir=self.chats_dir,
            device=self.device,
            dtype=self.dtype,
        )
        app.run()
        sys.exit(app.return_code or 0)
