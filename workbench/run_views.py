"""Runs in words: what a screen tells of one besides its curves. Texts of models are shown, not obeyed."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from picochat.commands.runs_view import ABOUT_THE_RUN, age, short_bytes, short_count
from workbench.canvas import short
from workbench.run_tree import STATES, Row
from workbench.runs import Facts
from workbench.visible import visible

HEADING = "bold"
PART_STYLES = {"thinking": "italic dim", "tool_call": "bold yellow", "tool_result": "bold cyan"}


def facts_text(row: Row, now: float) -> Text:
    """Return where a run or checkpoint stands, in a few lines."""
    facts = row.facts
    text = Text()
    text.append(visible(row.name), HEADING)
    mark, colour = STATES.get(facts.state, ("", ""))
    text.append(f"  {facts.stage or facts.kind}  ", "dim")
    text.append(f"{mark} {facts.state}\n".lstrip(), colour)
    if facts.problem:
        text.append(f"{visible(facts.problem)}\n", "red" if facts.kind != "empty" else "dim")
    pairs: dict[str, str] = {}
    if facts.parent:
        pairs["began from"] = facts.parent
    if facts.step is not None:
        pairs["step"] = f"{facts.step} of {facts.steps or '?'}"
    if facts.loss is not None:
        pairs["loss"] = f"{facts.loss:.4f}"
    pairs |= {name: f"{value:.4f}" for name, value in facts.metrics.items()}
    if facts.num_parameters:
        pairs["parameters"] = f"{facts.num_parameters:,}"
    pairs["on disk"] = short_bytes(facts.size)
    if facts.created is not None:
        pairs["begun"] = f"{age(max(now - facts.created, 0))} ago"
    pairs |= {name: str(facts.info[name]) for name in ("device", "dtype") if name in facts.info}
    checkpoint = row.checkpoint
    if checkpoint is not None:
        score = "not measured" if checkpoint.score is None else f"{checkpoint.score:.4f}"
        pairs = {
            "checkpoint": f"step {checkpoint.step}{'' if checkpoint.is_complete else ', incomplete'}",
            "score": f"{score}{'  ★ best' if row.is_best else ''}",
            "saved": f"{age(max(now - checkpoint.made, 0))} ago, {short_bytes(checkpoint.size)}",
            **pairs,
        }
    for name, value in pairs.items():
        text.append(f"{name:>12}  ", "dim")
        text.append(f"{visible(value)}\n")
    return text


def config_text(facts: Facts, changed: Sequence[str]) -> Text:
    """Return options (those in `changed` bold), the model's shape, versions."""
    text = Text()
    for title, values in (
        ("options", facts.info.get("options", {})),
        ("model", facts.info.get("model", {})),
        ("versions", facts.info.get("versions", {})),
    ):
        if not isinstance(values, dict) or not values:
            continue
        text.append(f"{title}\n", HEADING)
        for name, value in values.items():
            if name in ABOUT_THE_RUN:
                continue
            label = f"--{name.replace('_', '-')}" if title == "options" else name
            is_changed = title == "options" and name in changed
            text.append(f"  {label} ", "bold" if is_changed else "dim")
            text.append(visible(_text(value)), "bold" if is_changed else "")
        text.append("\n\n")
    return text


def changed_options(facts: Facts) -> list[str]:
    """Return the names of the options that are not the stage's defaults."""
    from picochat.commands import runs_view

    given = facts.info.get("options", {})
    return runs_view.changed_options(facts.stage, given) if isinstance(given, dict) else []


def changed_text(facts: Facts) -> Text:
    """Return the options that are not the defaults, as they are given."""
    given = facts.info.get("options", {})
    text = Text()
    for name in changed_options(facts):
        text.append(f"--{name.replace('_', '-')} ", "dim")
        text.append(f"{visible(_text(given[name]))}  ")
    return text


def samples_text(samples: Sequence[dict[str, Any]]) -> Text:
    """Return what the model said while it trained, the newest first."""
    text = Text()
    step = None
    for sample in reversed(samples):
        if sample.get("step") != step:
            step = sample.get("step")
            text.append(f"step {step}\n", HEADING)
        text.append(f"  {visible(str(sample['prompt']))}", "dim")
        text.append(f"{visible(str(sample['text']).replace(chr(10), '⏎'))}\n")
    return text or Text("no samples yet", "dim")


def events_text(events: Sequence[dict[str, Any]]) -> Text:
    """Return validations, saves, pauses and ends, the newest first."""
    text = Text()
    for event in reversed(events):
        text.append(f"{event.get('step')!s:>8}  ", "dim")
        kind = str(event.get("event"))
        text.append(f"{visible(kind):<9} ", HEADING)
        metrics = event.get("metrics")
        if isinstance(metrics, dict):
            text.append("  ".join(f"{visible(str(k))} {_number(v)}" for k, v in metrics.items()))
        elif kind == "saved":
            text.append(visible(str(event.get("path", ""))))
        elif kind == "finished":
            text.append(visible(str(event.get("state", ""))))
        if isinstance(event.get("seconds"), int | float):
            text.append(f"  {event['seconds']:.1f} s", "dim")
        text.append("\n")
    return text or Text("nothing yet", "dim")


def log_text(lines: Sequence[str]) -> Text:
    """Return the end of the log."""
    if not lines:
        return Text("no log: the run was not started from here", "dim")
    return Text("\n".join(visible(line) for line in lines))


def rollout_line(group: dict[str, Any], width: int) -> Text:
    """Return a group of answers in one line: how many are right, their rewards, the problem."""
    answers = [answer for answer in group["answers"] if isinstance(answer, dict)]
    right = sum(bool(answer.get("correct")) for answer in answers)
    rewards = [answer["reward"] for answer in answers if isinstance(answer.get("reward"), int | float)]
    mean = sum(rewards) / len(rewards) if rewards else 0.0
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{group.get('step')!s:>5} ", "dim")
    for answer in answers:
        text.append("●" if answer.get("correct") else "○", "green" if answer.get("correct") else "red")
    text.append(f" {right}/{len(answers)} ")
    text.append(f"{mean:+.2f} ", "bold")
    if not group.get("is_trained", True):
        text.append("left out ", "yellow")
    text.append(f"{visible(str(group.get('task', '')))} ", "cyan")
    text.append(visible(question_of(group).replace("\n", " ")))
    text.truncate(max(width, 10), overflow="ellipsis")
    return text


def question_of(group: dict[str, Any]) -> str:
    """Return what was asked: the text of the last message of the prompt."""
    prompt = group.get("prompt")
    if not isinstance(prompt, list) or not prompt or not isinstance(prompt[-1], dict):
        return ""
    content = prompt[-1].get("content", "")
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


def rollout_text(group: dict[str, Any]) -> Text:
    """Return a group in full: problem, right answer, every answer with its rewards, best first."""
    text = Text()
    text.append(f"step {group.get('step')}  {visible(str(group.get('problem', '')))}\n", HEADING)
    text.append(f"{visible(question_of(group))}\n")
    text.append("gold answer  ", "dim")
    text.append(f"{visible(str(group.get('gold', '')))}\n", "bold green")
    answers = [answer for answer in group["answers"] if isinstance(answer, dict)]
    for answer in sorted(answers, key=lambda answer: -float(answer.get("reward") or 0.0)):
        is_right = bool(answer.get("correct"))
        text.append(f"\n{'✓' if is_right else '✗'} ", "bold green" if is_right else "bold red")
        text.append(f"reward {_number(answer.get('reward'))}  advantage {_number(answer.get('advantage'))}  ")
        rewards = answer.get("rewards")
        parts = rewards if isinstance(rewards, dict) else {}
        told = "  ".join(f"{visible(str(name))} {_number(value)}" for name, value in parts.items())
        text.append(f"{told}  {answer.get('num_tokens')} tokens, {answer.get('finish_reason')}\n", "dim")
        text.append_text(parts_text(answer.get("parts")))
        text.append("\n")
    return text


def parts_text(parts: Any) -> Text:
    """Return an answer's thoughts, tool calls and text."""
    if not isinstance(parts, list):
        return Text(visible(str(parts)))
    text = Text()
    for part in parts:
        if isinstance(part, dict):
            kind = str(part.get("type", ""))
            lead = {"tool_call": "⚙ ", "tool_result": " → "}.get(kind, "")
            text.append(f"{lead}{visible(str(part.get('text', '')))}", PART_STYLES.get(kind, ""))
            text.append("\n" if kind == "thinking" else " " if kind == "tool_result" else "")
    return text


def progress_text(facts: Facts, step: dict[str, Any], *, now: float, width: int) -> Text:
    """Return two lines: state and progress; speed, loss, time left."""
    mark, colour = STATES.get(facts.state, ("", ""))
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{visible(facts.name)} ", HEADING)
    text.append(f"{facts.stage} " if facts.stage or facts.state else f"{facts.kind} ", "dim")
    text.append(f"{mark} {facts.state} ", colour)
    done, total = facts.step or 0, facts.steps or 0
    if isinstance(step.get("step"), int):
        done = max(done, step["step"]) if total else done
    if total:
        room = max(8, min(30, width - text.cell_len - 18))
        full = round(room * min(done / total, 1.0))
        text.append("━" * full, "bold cyan")
        text.append("━" * (room - full) if room > full else "", "dim")
        text.append(f" {done}/{total}")
    text.append("\n")
    said = []
    if isinstance(step.get("loss"), int | float):
        said.append(f"loss {step['loss']:.4f}")
    said += [f"{name} {value:.4f}" for name, value in list(facts.metrics.items())[:2]]
    if isinstance(step.get("tokens_per_second"), int | float):
        said.append(f"{short_count(round(step['tokens_per_second'], 1))} tok/s")
    if facts.is_live and isinstance(step.get("seconds"), int | float) and total > done:
        said.append(f"{age((total - done) * step['seconds'])} left")
    if facts.is_live and facts.heartbeat is not None and now - facts.heartbeat > 10:
        said.append(f"no word for {age(now - facts.heartbeat)}")
    if facts.problem:
        said.insert(0, visible(facts.problem))
    is_bad = facts.state in ("failed", "crashed") or facts.kind == "damaged"
    text.append("   ".join(said), "red" if facts.problem and is_bad else "")
    return text


def _number(value: Any) -> str:
    return short(value) if isinstance(value, int | float) else "-"


def _text(value: Any) -> str:
    return " ".join(repr(item) for item in value) if isinstance(value, list | tuple) else str(value)
