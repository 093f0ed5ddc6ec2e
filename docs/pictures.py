"""Draw the README's picture from a finished demo: `python docs/pictures.py` after `picochat demo`."""

from pathlib import Path

from rich.console import Console

from picochat.commands.chat_view import TerminalView
from picochat.commands.demo import Demo
from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.engine.session import ChatSession
from picochat.train.load import load
from picochat.train.run_dir import RunDir

QUESTIONS = (
    "Where does Mara live?",
    "And what is her pet?",
    "Sam has 74 mugs and Fred has 20. How many more mugs does Sam have than Fred?",
)


def main() -> None:
    """Write demo.svg beside this file."""
    console = Console(record=True, width=100, highlight=False)
    demo = Demo()
    console.print("[dim]$[/] picochat demo\n[dim]...[/]\n")
    console.print(demo.table([RunDir(Path("runs") / name) for name in ("demo-pretrain", "demo-sft", "demo")]))
    engine = Engine(*load("demo"))
    session = ChatSession(engine, options=SamplingOptions(temperature=0))
    view = TerminalView(console)
    for question in QUESTIONS:
        console.print(f"\n[bold green]>[/] {question}")
        for event in session.send(question):
            view.show(event)
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="picochat")


if __name__ == "__main__":
    main()
