"""`picochat chat`, in pipes and as far as possible without a terminal."""

import io
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from picochat import cli
from picochat.commands.chat import Repl, _is_base_model, parse_option, read_lines, show
from picochat.commands.chat_view import PlainView, TerminalView, visible
from picochat.engine.events import Completion, Done, Event, TextDelta, ThinkingDelta, ToolCall, ToolResult
from picochat.engine.generate import Engine, SamplingOptions
from picochat.engine.session import ChatSession
from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer
from tests.tiny_model import random_model

NOTHING = Completion(tokens=(), parts=(), finish_reason="stop", num_tokens=0, seed=0)
ANSWER: list[Event] = [
    ThinkingDelta("so "),
    ToolCall("2+3"),
    ToolResult("5"),
    ThinkingDelta("well"),
    ThinkingDelta(""),
    TextDelta("It is [bold]5[/bold]\x1b[31m."),
    Done("length", 7, NOTHING),
]


@pytest.fixture(scope="module")
def model() -> GPT:
    model = random_model(1, vocab_size=272, context=64, spread=0.1).requires_grad_(False)
    model.lm_head.weight[256:] = 0.0  # hardly ever an end, so that there is text
    return model


@pytest.fixture(scope="module")
def checkpoint(model: GPT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("model")
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "model.safetensors",
    )
    model.config.save(folder / "config.json")
    Tokenizer.from_merges([], 272).save(folder)
    return folder


@pytest.fixture
def repl(model: GPT) -> Repl:
    engine = Engine(model, Tokenizer.from_merges([], 272))
    options = SamplingOptions(seed=0, temperature=1.0, max_tokens=8)
    return Repl(ChatSession(engine, options=options), PlainView())


def run(*args: str, lines: str = "", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    cli.main(["chat", *args])


def test_one_shot_and_completion(checkpoint: Path, capsys, monkeypatch) -> None:
    options = ("--load", str(checkpoint), "--seed", "1", "--max-tokens", "9", "--device", "cpu")
    run(*options, "--prompt", "hello", monkeypatch=monkeypatch)
    first = capsys.readouterr().out
    run(*options, "--prompt", "hello", monkeypatch=monkeypatch)
    assert capsys.readouterr().out == first
    assert len(first) > 4
    run(*options, "--prompt", "hello", "--complete", monkeypatch=monkeypatch)
    assert capsys.readouterr().out.startswith("hello")


def test_a_base_model_is_recognised(checkpoint: Path, tmp_path: Path) -> None:
    assert not _is_base_model(str(checkpoint), "runs")
    for stage in ("pretrain", "sft"):
        step = tmp_path / stage / "checkpoints" / "step-00000001"
        shutil.copytree(checkpoint, step)
        (step / "MANIFEST.json").write_text("{}", encoding="utf-8")
        info = {"stage": stage, "options": {}, "parent": None, "created": 0}
        (tmp_path / stage / "run.json").write_text(json.dumps(info), encoding="utf-8")
        assert _is_base_model(str(tmp_path / stage), "runs") == (stage == "pretrain")


def test_the_lines_of_a_pipe_are_turns(checkpoint: Path, capsys, monkeypatch, tmp_path: Path) -> None:
    saved = tmp_path / "chat.jsonl"
    lines = f"one\n\n/temperature 0\n//slash\n/nonsense\n/top_p 7\n/save {saved}\n/quit\nnever\n"
    run("--load", str(checkpoint), "--max-tokens", "4", lines=lines, monkeypatch=monkeypatch)
    said = capsys.readouterr().err
    assert "temperature 0.0" in said
    assert "no command /nonsense" in said
    assert "top_p must be" in said
    (row,) = [json.loads(line) for line in saved.read_text(encoding="utf-8").splitlines()]
    questions = [message["content"] for message in row["messages"] if message["role"] == "user"]
    assert questions == ["one", "/slash"]


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])  # as in a UTF-8 locale, and in C
def test_input_that_is_not_utf8_is_said_as_far_as_it_is(
    checkpoint: Path, errors: str, monkeypatch, tmp_path: Path
) -> None:
    saved = tmp_path / "chat.jsonl"
    lines = f"na\xefve\n/save {saved}\n".encode("latin-1")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8", errors=errors))
    cli.main(["chat", "--load", str(checkpoint), "--max-tokens", "4"])
    (row,) = [json.loads(line) for line in saved.read_text(encoding="utf-8").splitlines()]
    assert row["messages"][0] == {"role": "user", "content": "na\ufffdve"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--top-p", "2"], "top_p"),
        (["--temperature", "nan"], "temperature"),
        (["--complete"], "--prompt"),
        (["--load", "no/such/run"], "no/such/run"),
        (["--prompt", "x" * 100], "context"),
    ],
)
def test_mistakes_are_one_line(checkpoint: Path, args: list[str], message: str, capsys, monkeypatch) -> None:
    with pytest.raises(SystemExit) as exit:
        run("--load", str(checkpoint), *args, monkeypatch=monkeypatch)
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_commands_of_the_conversation(repl: Repl, capsys, tmp_path: Path) -> None:
    lines = ["/system be kind", "hello", "/regenerate", "/clear", "/save", "/regenerate", "/seed", "/help"]
    for name, value in (("top-k", "3"), ("stop", "a b"), ("seed", "none"), ("thinking_budget", "5")):
        lines.append(f"/{name} {value}")
    repl.run(iter(lines))
    said = capsys.readouterr().err
    assert repl.session.system == "be kind"
    assert [message.role for message in repl.session.messages] == ["system"]
    assert "/save needs a file name" in said
    assert "no answer to regenerate" in said
    assert "seed 0\n" in said
    assert "repetition_penalty" in said
    options = repl.session.options
    assert (options.top_k, options.stop, options.seed, options.thinking_budget) == (3, ("a", "b"), None, 5)
    with pytest.raises(UserError, match="/top_k takes a whole number"):
        parse_option("top_k", "many")


def test_ctrl_c_stops_the_answer_and_keeps_it(repl: Repl, capsys) -> None:
    class Interrupting(PlainView):
        def show(self, event: Event) -> None:
            super().show(event)
            if isinstance(event, TextDelta) and not seen:
                seen.append(event)
                signal.raise_signal(signal.SIGINT)

    seen: list[Event] = []
    before = signal.getsignal(signal.SIGINT)
    repl.view = Interrupting()
    repl.handle("hello")
    assert signal.getsignal(signal.SIGINT) is before
    answer = repl.session.messages[-1]
    assert answer.role == "assistant"
    assert answer.text == "".join(e.text for e in seen if isinstance(e, TextDelta))
    assert "(stopped)" in capsys.readouterr().err


def test_a_second_ctrl_c_leaves(repl: Repl) -> None:
    class Impatient(PlainView):
        def show(self, event: Event) -> None:
            signal.raise_signal(signal.SIGINT)

    repl.view = Impatient()
    # What a shell starts in the background ignores the interrupt.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            repl.handle("hello")
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_at_the_prompt_twice_leaves(monkeypatch, capsys) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed: Iterator = iter([KeyboardInterrupt, "a", KeyboardInterrupt, KeyboardInterrupt, "never"])

    def input_(prompt: str) -> str:
        value = next(typed)
        if value is KeyboardInterrupt:
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", input_)
    assert list(read_lines(PlainView())) == ["a"]
    assert next(typed) == "never"


def test_plain_view(capsys) -> None:
    view = PlainView()
    for event in ANSWER:
        view.show(event)
    out, err = capsys.readouterr()
    assert out == "[thinking: so ]\n[2+3 = 5][thinking: well]\nIt is [bold]5[/bold]␛[31m.\n"
    assert err == "(stopped after 7 tokens (/max_tokens N allows more))\n"


def test_terminal_view_shows_model_text_as_it_is(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    view = TerminalView()
    for event in ANSWER:
        view.show(event)
    for word in ("a ", "long ", "line that is wider than the terminal", " ", "end"):
        view.show(TextDelta(word))
    out = capsys.readouterr().out
    assert "so  2+3 = 5 well\nIt is [bold]5[/bold]␛[31m.\n" in out
    assert out.endswith("a long line that is wider than the terminal end")
    assert "\x1b" not in out


def test_control_characters_are_shown() -> None:
    text = "a\nb\tc\x1b]0;x\x07\r\x7f\x9b\u202e\u2066é😀"
    assert visible(text) == "a\nb\tc␛]0;x␇␍␡<U+009B><U+202E><U+2066>é😀"


def test_show_gives_the_signal_back_after_an_error(repl: Repl) -> None:
    class Broken(PlainView):
        def show(self, event: Event) -> None:
            raise BrokenPipeError

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(BrokenPipeError):
        show(repl.session.send("hello"), Broken())
    assert signal.getsignal(signal.SIGINT) is before
