"""The tasks by the names that commands and options use."""

from picochat.tasks.arc import Arc
from picochat.tasks.gsm8k import Gsm8k
from picochat.tasks.mmlu import Mmlu
from picochat.tasks.simple_qa import SimpleQa
from picochat.tasks.task import Task
from picochat.tasks.tool_use import ToolUse

TASKS: dict[str, Task] = {task.name: task for task in (Gsm8k(), Arc(), Mmlu(), ToolUse(), SimpleQa())}

LABELS = {
    "gsm8k": "word problems",
    "tools": "calculator tasks",
    "qa": "plain questions",
    "arc": "multiple choice",
    "mmlu": "multiple choice of many subjects",
}
"""What pages call the tasks."""


def label(task: str) -> str:
    """Return what pages call a task."""
    return LABELS.get(task, task)
