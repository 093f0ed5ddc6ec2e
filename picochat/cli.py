"""The command `picochat`: finds the options class of a command, fills it from the arguments and runs it.

Commands are imported one at a time and none needs torch to show its help.
"""

import io
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from picochat.arguments import parse_options
from picochat.errors import UserError


@dataclass(frozen=True)
class Command:
    """Where a command lives: an options class with an `execute` method."""

    module: str
    options: str
    summary: str

    def load(self) -> Any:
        """Import the options class."""
        return getattr(import_module(f"picochat.commands.{self.module}"), self.options)


COMMANDS: dict[str, Command] = {
    "demo": Command("demo", "Demo", "the whole pipeline on the built-in world, ending in a chat"),
    "data builtin": Command("data", "BuiltinWorld", "write the built-in world"),
    "data prepare": Command("data", "PrepareText", "turn txt, jsonl or parquet into parquet with `text`"),
    "data get": Command("data", "GetDataset", "fetch a known public data set"),
    "tokenizer train": Command("tokenizer", "TrainTokenizer", "train a tokenizer"),
    "tokenizer encode": Command("tokenizer", "EncodeText", "show the tokens of a text"),
    "tokenizer show": Command("tokenizer", "ShowTokenizer", "show a vocabulary and how well it compresses"),
    "pretrain": Command("pretrain", "Pretrain", "train a model on raw text"),
    "sft": Command("sft", "Sft", "teach a trained model to answer, from conversations"),
    "grpo": Command("grpo", "Grpo", "let a model practise problems whose answers can be judged"),
    "chat": Command("chat", "Chat", "talk with a model"),
    "serve": Command("serve", "Serve", "models over HTTP (OpenAI's API), with a chat page"),
    "workbench": Command("workbench", "OpenWorkbench", "the terminal app: chat, tokens, checkpoints"),
    "eval bpb": Command("eval", "EvalBpb", "bits per byte of a model on texts"),
    "eval arc": Command(
        "eval_tasks", "EvalArc", "multiple choice in ARC's formats, by likelihood or written"
    ),
    "eval mmlu": Command("eval_tasks", "EvalMmlu", "MMLU, by likelihood or written"),
    "eval gsm8k": Command("eval_tasks", "EvalGsm8k", "word problems, with the calculator"),
    "eval tools": Command("eval_tasks", "EvalTools", "prompts that the calculator answers"),
    "eval qa": Command("eval_tasks", "EvalQa", "simple questions"),
    "eval reasoning": Command("eval_tasks", "EvalReasoning", "thinking, self-correction and tool calls"),
    "eval all": Command("eval_tasks", "EvalAll", "all of these tasks, compared between models"),
    "eval harness": Command("eval_harness", "EvalHarness", "tasks of lm-evaluation-harness (an extra)"),
    "quantize": Command("quantize", "Quantize", "write a checkpoint with int8 weights"),
    "export hf": Command("export", "ExportHuggingFace", "write a model for Hugging Face transformers"),
    "export rust": Command("export", "ExportRust", "write a model for the Rust picochat"),
    "runs list": Command("runs", "ListRuns", "list the runs"),
    "runs show": Command("runs", "ShowRun", "show one run: options, curve, checkpoints, samples"),
    "runs compare": Command("runs", "CompareRuns", "compare runs side by side"),
    "runs delete": Command("runs", "DeleteRun", "delete a run or one of its checkpoints"),
}


def main(argv: list[str] | None = None) -> None:
    """Run the command line; exit code 2 and one line for a mistake of the user's."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--"]:  # parts torchrun's options from ours; some Pythons pass it on
        argv = argv[1:]
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A curve, or what a model says, may hold characters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="replace")
    try:
        dispatch(argv)
    except UserError as error:
        sys.exit(_complain(str(error)))
    except BrokenPipeError:
        # The reader of a pipe has gone (`| head`): nobody is left to tell, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        sys.exit(_complain(f"{where}{error.strerror or error}"))
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)


def dispatch(argv: list[str]) -> None:
    """Find the command that `argv` begins with, and run it with the rest."""
    words = [word for word in argv[:2] if not word.startswith("-")]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return
    if argv[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"picochat {version('picochat')}")
        return
    for name in (" ".join(words[:2]), words[0] if words else ""):
        if name in COMMANDS:
            command = COMMANDS[name]
            options = parse_options(
                command.load(),
                prog=f"picochat {name}",
                args=argv[len(name.split()) :],
                summary=command.summary,
            )
            options.execute()
            return
    group = {name: command for name, command in COMMANDS.items() if words and name.split()[0] == words[0]}
    if group and (len(words) == 1 or argv[-1] in ("-h", "--help")):
        print(_table(group))
        return
    import difflib

    close = difflib.get_close_matches(" ".join(words) or argv[0], COMMANDS, n=1)
    hint = f"did you mean `picochat {close[0]}`?" if close else "`picochat --help` lists the commands"
    raise UserError(f"no command {' '.join(argv[:2])!r}; {hint}")


def overview() -> str:
    """Return the list of commands."""
    return (
        "picochat: understand and train small language models\n\n"
        f"{_table(COMMANDS)}\n\n`picochat COMMAND --help` shows the options of a command."
    )


def _table(commands: dict[str, Command]) -> str:
    width = max(map(len, commands))
    return "\n".join(f"  picochat {name:<{width}}  {command.summary}" for name, command in commands.items())


def _complain(message: str) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"error: {line}\n")
    return 2
