"""The app as `picochat workbench` starts it, with the fake model: `python fake_app.py CHATS_DIR`."""

import sys
from pathlib import Path
from typing import TypeVar

from workbench.app import Workbench
from workbench.guard import guarded_stderr

App = TypeVar("App", bound=Workbench)
FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))


def run(kind: type[App]) -> App:
    """Run an app on the folder that the command line names; return it when it has ended."""
    folder = Path(sys.argv[1])
    with guarded_stderr():
        app = kind(
            load="tiny",
            runs_dir=str(folder / "runs"),
            chats_dir=str(folder / "chats"),
            settings_dir=folder / "settings",
            command=FAKE,
        )
        app.run()
    return app


def main() -> None:
    sys.exit(run(Workbench).return_code or 0)


if __name__ == "__main__":
    main()
