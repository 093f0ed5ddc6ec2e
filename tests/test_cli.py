"""The command line: what it lists, what it takes, and one line for each mistake."""

import doctest
import io
import os
import re
import shlex
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat import arguments, cli
from picochat.arguments import gather

OPTIMIZER = "optimizer lr embedding_lr head_lr scalar_lr momentum weight_decay"
RUN = (
    f"{OPTIMIZER} run runs_dir resume steps grad_accum warmup warmdown clip seed "
    "device dtype shard kernels eval_every sample_every save_every keep on_bad_row"
)
PACKED = f"{RUN} batch_size seq_len eval_tokens"
SAMPLING = "temperature top_k top_p min_p repetition_penalty seed max_tokens stop thinking_budget"
EVAL = f"load max_problems num_samples batch_size out html on_bad_row device dtype runs_dir {SAMPLING}"
EVAL_TASK = f"{EVAL} data few_shot examples"
SURFACE = {
    "demo": "name runs_dir small seed chat device dtype",
    "data builtin": "out seed",
    "data prepare": "paths out split column on_bad_row",
    "data get": "name out max_files revision",
    "tokenizer train": "out data vocab_size column split on_bad_row",
    "tokenizer encode": "tokenizer text file",
    "tokenizer show": "tokenizer text_file",
    "pretrain": f"{PACKED} data val_data tokenizer vocab_size column split depth prompts",
    "sft": f"{PACKED} load data val_data prompts",
    "grpo": f"{RUN} load gsm8k arc tools qa eval_gsm8k eval_arc eval_tools eval_qa eval_problems prompts "
    "group_size epochs dynamic_sampling max_draws max_tokens temperature top_k top_p thinking_budget "
    "clip_eps clip_eps_high kl_beta advantage_std normalize accuracy_weight format_weight tool_weight "
    "length_weight target_length reward log_groups",
    "chat": "load prompt complete system runs_dir plain device dtype temperature top_k top_p min_p "
    "repetition_penalty seed max_tokens stop thinking_budget",
    "serve": "load host port api_key allow_host device dtype max_batch max_queue max_body timeout drain "
    "quiet",
    "workbench": "load runs_dir chats_dir device dtype plain",
    "eval bpb": "load data column split on_bad_row seq_len batch_size device dtype runs_dir",
    "eval arc": f"{EVAL_TASK} scoring",
    "eval mmlu": f"{EVAL_TASK} scoring",
    "eval gsm8k": f"{EVAL_TASK} lenient",
    "eval tools": EVAL_TASK,
    "eval qa": EVAL_TASK,
    "eval reasoning": f"{EVAL} gsm8k tools",
    "eval all": f"{EVAL} arc mmlu gsm8k tools qa scoring",
    "eval harness": "load tasks include few_shot chat max_problems batch_size out device dtype runs_dir",
    "quantize": "load out device dtype eval_tokens",
    "export hf": "load out",
    "export rust": "load out",
    "runs list": "runs_dir",
    "runs show": "runs_dir name",
    "runs compare": "runs_dir names",
    "runs delete": "runs_dir names yes",
}
"""Every option there is. They are a promise to users: added, renamed and removed here too, on purpose."""


def option_names(options_class: type) -> list[str]:
    types = get_type_hints(options_class)
    names = []
    for field in fields(options_class):
        nested = types[field.name]
        names += option_names(nested) if is_dataclass(nested) else [field.name]
    return names


@pytest.mark.parametrize("name", SURFACE)
def test_options_change_only_on_purpose(name: str):
    assert option_names(cli.COMMANDS[name].load()) == SURFACE[name].split()


def test_every_command_has_a_surface():
    assert set(cli.COMMANDS) == set(SURFACE)


def complaint(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command line, which must fail with one line and exit code 2; return the line."""
    with pytest.raises(SystemExit) as end:
        cli.main(args)
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pretrian", ["no command 'pretrian'", "picochat pretrain"]),
        ("runs lst", ["no command 'runs lst'", "picochat runs list"]),
        ("xyzzy", ["xyzzy", "picochat --help"]),
        ("--verbose", ["--verbose"]),
        ("pretrain --stesp 3", ["--stesp", "--steps"]),
        ("pretrain --steps x", ["--steps", "'x'"]),
        ("pretrain --steps", ["--steps"]),
        ("pretrain --steps 0", ["--steps must be at least 1"]),
        ("pretrain --lr -1", ["--lr must be over 0"]),
        ("pretrain --dtype float8", ["--dtype", "float8", "bfloat16"]),
        ("pretrain --batch-size 3 --grad-accum 2", ["--batch-size 3", "--grad-accum 2"]),
        ("pretrain --keep 1", ["--keep"]),
        ("pretrain extra", ["extra"]),
        ("pretrain --run a/b", ["--run", "a/b"]),
        ("pretrain --resume", ["--resume needs --run"]),
        ("pretrain --resume --run nope", ["nope", "--resume"]),
        ("sft", ["--load"]),
        ("sft --load nope", ["nope"]),
        ("grpo", ["--load"]),
        ("grpo --load nope", ["nope"]),
        ("grpo --group-size 1", ["--group-size", "compared"]),
        ("grpo --temperature 0", ["--temperature 0", "differences"]),
        (
            "grpo --prompts 3 --group-size 5 --grad-accum 2",
            ["--prompts 3", "--group-size 5", "--grad-accum 2"],
        ),
        ("grpo --kl-beta -1", ["--kl-beta", "negative"]),
        ("runs show", ["NAME"]),
        ("runs show nope", ["nope"]),
        ("runs compare a", ["two runs"]),
        ("runs delete", ["name what to delete"]),
        ("tokenizer train", ["--out"]),
        ("chat", ["--load"]),
        ("chat --load nope", ["nope"]),
        ("eval bpb --load nope", ["nope"]),
    ],
)
def test_a_mistake_is_one_line(line, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    err = complaint(line.split(), capsys)
    assert all(word in err for word in words), err


def test_what_options_refuse_themselves_is_told_in_their_words(capsys):
    assert complaint(["pretrain", "--steps", "0"], capsys) == "error: --steps must be at least 1, not 0\n"


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (None, "", ["t.jsonl", "no such file"]),
        ("", "", ["t.jsonl"]),
        ('{"text": "a"}\n{"text": \n', "", ["t.jsonl:2"]),
        ('{"texts": "a"}\n', "", ["t.jsonl:1", "text"]),
        ('{"text": "a"}\n{"text": "b"}\n', "--depth 0", ["depth", "0"]),
        ('{"text": "a"}\n{"text": "b"}\n', "--vocab-size 5", ["vocabulary", "5"]),
        ('{"text": "a"}\n{"text": "b"}\n', "--tokenizer t.jsonl", ["t.jsonl"]),
        ('{"text": "a"}\n', "", ["--val-data"]),
        ('{"text": "a"}\n{"text": "b"}\n', "--device quantum", ["quantum"]),
    ],
)
def test_wrong_data_is_one_line(content, options, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "t.jsonl").write_text(content, encoding="utf-8")
    args = ["pretrain", "--data", "t.jsonl", "--vocab-size", "272", *options.split()]
    with pytest.raises(SystemExit) as end:
        cli.main(args)
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert end.value.code == 2
    assert len(error) == 1
    assert all(word in error[0] for word in words), error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"], ["help"]])
def test_overview_lists_every_command(args, capsys):
    cli.main(args)
    out = capsys.readouterr().out
    assert all(f"picochat {name} " in out for name in cli.COMMANDS)


@pytest.mark.parametrize("args", [["runs"], ["runs", "--help"]])
def test_a_group_lists_its_commands(args, capsys):
    cli.main(args)
    out = capsys.readouterr().out
    assert "picochat runs compare" in out
    assert "picochat pretrain" not in out


def test_help_shows_plain_names_and_docstrings(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["chat", "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert "--temperature" in out
    assert "--sampling" not in out
    assert "System prompt." in out


def test_version(capsys):
    from importlib.metadata import version

    cli.main(["--version"])
    assert capsys.readouterr().out == f"picochat {version('picochat')}\n"


def test_a_bug_is_not_hidden(monkeypatch):
    def crash(argv):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "dispatch", crash)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["runs"])


def test_an_error_of_the_system_names_the_file(monkeypatch, capsys):
    def fail(argv):
        raise PermissionError(13, "Permission denied", "/somewhere/runs")

    monkeypatch.setattr(cli, "dispatch", fail)
    assert complaint(["runs"], capsys) == "error: /somewhere/runs: Permission denied\n"


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    def interrupt(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "dispatch", interrupt)
    with pytest.raises(SystemExit) as end:
        cli.main(["runs"])
    assert end.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


@pytest.mark.parametrize(
    "args",
    [
        ["--data", "a:1.0", "b:0.5", "--load", "x"],
        ["--data", "a:1.0", "--data", "b:0.5", "--load", "x"],
        ["--data", "a:1.0", "--load", "x", "--data=b:0.5"],
    ],
)
def test_an_option_of_several_values_may_be_repeated(args):
    from picochat.commands.sft import Sft

    options = arguments.parse_options(Sft, prog="picochat sft", args=args, summary="")
    assert (options.data, options.load) == (("a:1.0", "b:0.5"), "x")


values = st.lists(st.from_regex(r"[a-z0-9./:]{1,5}", fullmatch=True), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["--data", "--stop", "--steps", "--resume"]), values), max_size=6))
def test_gathering_keeps_every_value_under_its_option_in_order(uses):
    """Oracle: group by option with a dictionary."""
    repeatable = ["--data", "--stop"]
    gathered = gather([arg for name, given_values in uses for arg in (name, *given_values)], repeatable)
    for option in repeatable:
        expected = [value for name, given_values in uses if name == option for value in given_values]
        assert gathered.count(option) == (option in dict(uses))
        if option in gathered:
            start = gathered.index(option) + 1
            assert gathered[start : start + len(expected)] == expected
    rest = [[name, *given_values] for name, given_values in uses if name not in repeatable]
    others = [arg for arg in gathered if arg in ("--steps", "--resume")]
    assert others == [name for name, *_ in rest]


README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", re.findall(r"`picochat ([a-z]+ [^`]* [^`]*)`", README))
def test_commands_of_the_readme_exist(line, monkeypatch):
    """Their arguments are understood; what they do is tested elsewhere."""
    parsed = []
    monkeypatch.setattr(cli, "parse_options", lambda *args, **rest: parsed.append((args, rest)) or Done())
    cli.main(shlex.split(line))
    [(classes, rest)] = parsed
    args = [arg for arg in rest["args"] if arg != "--resume"]
    assert arguments.parse_options(*classes, **{**rest, "args": args})


class Done:
    """Options of a command that does nothing."""

    def execute(self) -> None:
        pass


def test_text_that_the_terminal_can_not_show_is_replaced(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(cli, "dispatch", lambda argv: print("█"))
    cli.main(["runs"])
    stream.flush()
    assert stream.buffer.getvalue() == b"?\n".replace(b"\n", os.linesep.encode())


def test_examples_in_docstrings():
    assert doctest.testmod(arguments).failed == 0
