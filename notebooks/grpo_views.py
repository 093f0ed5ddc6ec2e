"""What the page of practice shows: functions of what is known of a run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import marimo as mo

from notebooks.layout import grid, text
from picochat.eval.compare import labelled
from picochat.eval.report import score_figure
from picochat.eval.scores import paired_difference
from picochat.plots import answers, rollouts
from picochat.plots.answer_tokens import Quantity, answer_tokens_html
from picochat.plots.curves import loss_figure
from picochat.tasks.registry import label
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.before_after import Comparison
from picochat.train.events import RolloutDone
from picochat.train.groups import Group
from picochat.train.history import History
from picochat.train.options import GrpoOptions
from picochat.train.policy_view import TokenView, view_group
from picochat.train.rollouts import Rollouts
from picochat.train.run import Run


@dataclass(frozen=True, kw_only=True)
class Practised:
    """A problem of the newest step with the tokens of all answers to it."""

    step: int
    index: int
    """Place of the problem in the step, from 0."""
    group: Group
    tokens: list[list[TokenView]]
    tokenizer: Tokenizer


def look_at_tokens(run: Run, number: int) -> Practised | None:
    """Return what became of the tokens of problem `number`, see `chosen_problem`; for the run's worker.

    None where the run made no step since it was built: answers are kept in its files, their tokens are not.
    """
    practised, options = run.trainer.batches, run.options
    assert isinstance(practised, Rollouts)
    assert isinstance(options, GrpoOptions)
    groups = practised.latest[: options.log_groups]
    if not groups:
        return None
    index = chosen_problem(number, [[answer.reward for answer in group.answers] for group in groups])
    tokens = view_group(
        run.model,
        practised.reference,
        groups[index],
        temperature=options.temperature,
        pad_id=run.tokenizer.special["<|pad|>"],
    )
    return Practised(
        step=run.trainer.step, index=index, group=groups[index], tokens=tokens, tokenizer=run.tokenizer
    )


def groups_of(told: Sequence[RolloutDone], percent: int) -> list[RolloutDone]:
    """Return the groups of one step: that at `percent` of all steps that were told."""
    if not told:
        return []
    steps = sorted({event.step for event in told})
    step = steps[round(percent / 100 * (len(steps) - 1))]
    return [event for event in told if event.step == step]


def rewards_of(groups: Sequence[RolloutDone]) -> list[list[float]]:
    """Return the rewards of all answers, group by group."""
    return [[answer["reward"] for answer in group.answers] for group in groups]


def chosen_problem(number: int, rewards: list[list[float]]) -> int:
    """Return the index of problem `number`, counted from 1; of the one with the most varied rewards for 0."""
    if number:
        return min(number, len(rewards)) - 1
    spreads = [max(group) - min(group) for group in rewards]
    return spreads.index(max(spreads))


def step_view(groups: Sequence[RolloutDone], chosen: int) -> mo.Html:
    """Return how the answers of a step were rewarded."""
    rows = [asdict(group) for group in groups]
    silent = sum(not rollouts.has_signal(row) for row in rows)
    right = [answer["correct"] for row in rows for answer in row["answers"]]
    replaced = sum(not row["is_trained"] for row in rows)
    numbers = [
        mo.stat(f"{groups[0].step}", label="step"),
        mo.stat(f"{sum(right)} of {len(right)}", label="answers right"),
        mo.stat(f"{silent} of {len(rows)}", label="problems without signal"),
        mo.stat(f"{replaced}", label="problems replaced by others"),
    ]
    parts = [grid(*numbers, least="7.5rem"), rollouts.strip_figure(rows, chosen=chosen)]
    if replaced:
        parts.append(
            mo.md(
                f"{len(rows)} problems were answered. {replaced} of them taught nothing, and others were "
                f"drawn in their place: the step was made with {len(rows) - replaced}."
            )
        )
    return mo.vstack(parts)


def group_view(groups: Sequence[RolloutDone], index: int, chosen: int, options: dict[str, Any]) -> mo.Html:
    """Return a problem with all its answers, rewards and advantages; `options` are the run's."""
    group = groups[index]
    question = group.prompt[-1]["content"]
    rows = [
        answers.Judged(
            parts=one["parts"],
            is_right=one["correct"],
            rewards=one["rewards"],
            reward=one["reward"],
            advantage=one["advantage"],
            note="" if one["finish_reason"] == "stop" else "cut off before its end: no token was left",
        )
        for one in group.answers
    ]
    called = rollouts.weighted_names(rows[0].rewards, options)
    head = text(f"""
    ### Problem {index + 1} of {len(groups)} in step {group.step}: {label(group.task)} {group.level}

    The reward is the sum of the columns before it, each times what stands over it. The advantage is how much
    better that is than the mean of the group{", over its spread" if options["advantage_std"] else ""}.
    """)
    table = answers.group_html(question, group.gold, rows, chosen=chosen, called=called)
    return mo.vstack([head, mo.Html(answers.PARTS_LEGEND + table)])


def shows_newest(told: Sequence[RolloutDone], percent: int) -> bool:
    """Whether the chosen step is the newest one; only its tokens are there to be looked at."""
    chosen = groups_of(told, percent)
    return not chosen or chosen[0].step == max(event.step for event in told)


def tokens_view(seen: Practised | None, number: int, quantity: Quantity) -> mo.Html:
    """Return the tokens of answer `number`, from 0, coloured by a quantity; or why there are none."""
    if seen is None:
        return mo.md(
            "*Token by token only the newest step can be seen: the weights of older ones are gone. Move the "
            "slider of steps to its right end, or make a step.*"
        )
    number = min(number, len(seen.tokens) - 1)
    head = text(f"""
    ### Problem {seen.index + 1}, answer {number + 1} of step {seen.step}, token by token

    Its advantage is {seen.group.answers[number].advantage:+.2f}. Underlined tokens were put there by the
    calculator: no choice of the model, nothing to learn. How much likelier a token has become since it was
    drawn is the *importance ratio*, which GRPO keeps near 1.
    """)
    return mo.vstack([head, mo.Html(answer_tokens_html(seen.tokenizer, seen.tokens, number, quantity))])


def curves_view(history: History, smooth_over: int) -> mo.Html:
    """Return the curves of practice, two beside each other."""
    steps = [{"step": event.step, "stats": event.stats} for event in history.steps()]
    evals = [{"step": event.step, "metrics": event.metrics} for event in history.evals()]
    figures = []
    for name, curves in rollouts.practice_curves(steps, evals).items():
        figure = loss_figure(curves, smooth_over=smooth_over, y_title="")
        figure.update_layout(height=250)
        figures.append(mo.vstack([mo.md(f"**{name}**"), figure]))
    if not steps:
        return mo.md("No step was made yet.")
    return grid(*figures)


def held_out_view(found: Comparison, shown: str) -> mo.Html:
    """Return the scores of both models and the problems side by side."""
    if not found.pairs:
        return mo.md("No held-out problems were given for these tasks.")
    flips = [pair.flip for pair in found.pairs]
    lines = [
        f"**{label(task)}**: {100 * change.value:+.0f} points "
        f"[{100 * change.interval.low:+.0f}, {100 * change.interval.high:+.0f}]"
        for task, score in found.now.tasks.items()
        for change in [paired_difference(found.before.tasks[task], score)]
    ]
    chosen = [
        pair
        for pair in found.pairs
        if shown == "all"
        or (shown == "changed" and pair.flip != "same")
        or (shown == "right now" and pair.now.is_right)
        or (shown == "wrong now" and not pair.now.is_right)
    ]
    table = answers.side_by_side_html(chosen, before="at the start", now=f"after {found.step} steps")
    return mo.vstack(
        [
            score_figure(labelled([found.before, found.now])),
            mo.md(" · ".join(lines)),
            mo.md(
                f"{flips.count('better')} are right now that were wrong, {flips.count('worse')} the reverse."
            ),
            mo.Html(f'<div style="max-height:34em;overflow-y:auto">{table}</div>')
            if chosen
            else mo.md("None."),
        ]
    )
