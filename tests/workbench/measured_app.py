"""The app with the fake model and a watch on its event loop; see `measure.py`."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from textual import work

from tests.workbench.fake_app import run
from workbench.app import Workbench

TICK = 0.005


class MeasuredWorkbench(Workbench):
    """Notes how long the event loop was held up at most, once the model is there.

    `worst` is what a clock says, `worst_busy` how long this thread worked meanwhile: on a busy machine the
    first is mostly other programs' time.
    """

    worst = 0.0
    worst_busy = 0.0

    def on_mount(self) -> None:
        self.watch_loop()

    @work
    async def watch_loop(self) -> None:
        """Sleep a little again and again: what is more than that is a stall."""
        while self.loaded is None:
            await asyncio.sleep(TICK)
        while True:
            began, busy = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK)
            self.worst = max(self.worst, time.perf_counter() - began - TICK)
            self.worst_busy = max(self.worst_busy, time.thread_time() - busy)


def main() -> None:
    app = run(MeasuredWorkbench)
    Path(os.environ["WORKBENCH_STALLS"]).write_text(json.dumps({"worst": app.worst, "busy": app.worst_busy}))
    sys.exit(app.return_code or 0)


if __name__ == "__main__":
    main()
