"""The app as `picochat workbench` starts it, with the fake model: `python fake_app.py CHATS_DIR`."""

import sys
from pathlib import Path

from workbench.app import Workbench
from workbench.guard import guarded_stderr

FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))


def main() -> None:
    folder = Path(sys.argv[1])
    with guarded_stderr():
        app = Workbench(
            load="tiny",
            runs_dir=str(folder / "runs"),
            chats_dir=str(folder / "chats"),
            settings_dir=folder / "settings",
            command=FAKE,
        )
        app.run()
    sys.exit(app.return_code or 0)


if __name__ == "__main__":
    main()
