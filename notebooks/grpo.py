import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="picochat: practice")

with app.setup:
    from dataclasses import asdict, replace
    from functools import lru_cache
    from pathlib import Path

    import marimo as mo

    from notebooks import live
    from picochat.commands.grpo import Grpo
    from picochat.data.builtin.write import WorldFiles, default_world_dir
    from picochat.errors import UserError
    from picochat.eval.report import score_figure
    from picochat.eval.scores import paired_difference
    from picochat.plots import answers, rollouts
    from picochat.plots.curves import loss_figure
    from picochat.plots.token_pieces import answer_pieces, say_change, scale_of_changes
    from picochat.plots.tokens import token_html
    from picochat.train.asked import Asked
    from picochat.train.before_after import Beginning, Comparison
    from picochat.train.grpo import WORLD_TASKS, build_grpo, held_out_problems
    from picochat.train.policy_view import view_group
    from picochat.train.run_dir import runs_of
    from picochat.train.run_options import stored_options

    TASKS = {
        "gsm8k": "word problems",
        "tools": "calculator tasks",
        "qa": "questions about people",
        "arc": "multiple choice",
    }
    BY_CHANGE, BY_KL, BY_ENTROPY = (
        "what the step did to its probability",
        "divergence from the model it began with (KL)",
        "how open the choice was (entropy)",
    )


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Practice: a model that learns from its own tries

    A fine-tuned model imitates. It has seen how sums are worked out, but nobody ever told it whether its own
    answer was right. Now it practises. The method is called *GRPO* (group relative policy optimisation):

    1. It answers **the same problem several times**. There is chance in it, so the answers differ.
    2. Each answer gets a **reward**: is it right, is it well built, did it use the calculator if it had to?
    3. An answer better than the mean of its group has a positive **advantage**: its tokens become likelier.
       Those of an answer that is worse become less likely.

    No solution is ever shown to it. Where all answers to a problem are alike, there is nothing to learn.
    """)
    return


@app.cell
def _():
    LIVE = live.is_live()
    args = live.options(Grpo, prog="notebooks/grpo.py")
    session = live.Session()
    return LIVE, args, session


@app.cell(hide_code=True)
def _():
    look_again = mo.ui.button(label="Look for runs again", value=0, on_click=lambda count: count + 1)
    return (look_again,)


@app.cell
def _(args, look_again):
    look_again.value  # noqa: B018 (a run may have been trained elsewhere meanwhile)
    bases = [run.name for run in runs_of(Path(args.runs_dir), "sft", "grpo")]
    unfinished = [run.name for run in runs_of(Path(args.runs_dir), "grpo") if run.can_resume()]
    if args.load and args.load not in bases:
        bases = [args.load, *bases]
    return bases, unfinished


@app.cell(hide_code=True)
def _(args, bases, look_again, unfinished):
    NEW = "a new run"
    given = [f"{task} {file}" for task in TASKS for file in getattr(args, task)]
    setup = (
        mo.md("""
        {base} {resume}

        {tasks}

        {own}

        {steps} {prompts} {group_size} {max_tokens}

        {lr} {kl_beta} {seed}
        """)
        .batch(
            base=mo.ui.dropdown(bases, value=bases[0] if bases else None, label="begin with the model"),
            resume=mo.ui.dropdown([NEW, *unfinished], value=NEW, label="as"),
            tasks=mo.ui.multiselect(
                {label: task for task, label in TASKS.items()},
                value=[] if given else [TASKS[task] for task in WORLD_TASKS],
                label="problems of the built-in world",
            ),
            own=mo.ui.text_area(
                value="\n".join(given),
                placeholder="gsm8k my/problems.jsonl:1.0",
                label="or your own, one file a line: the kind (gsm8k, arc, tools, qa), the file, its weight",
                rows=2,
                full_width=True,
            ),
            steps=mo.ui.number(start=1, stop=100_000, value=args.steps, label="steps"),
            prompts=mo.ui.number(start=1, stop=512, value=args.prompts, label="problems per step"),
            group_size=mo.ui.number(start=2, stop=256, value=args.group_size, label="answers to each"),
            max_tokens=mo.ui.number(start=1, stop=4096, value=args.max_tokens, label="tokens at most"),
            lr=mo.ui.number(start=0.0, stop=1.0, step=0.0001, value=args.lr, label="learning rate"),
            kl_beta=mo.ui.number(
                start=0.0,
                stop=10.0,
                step=0.01,
                value=args.kl_beta,
                label="weight of staying near the start (KL)",
            ),
            seed=mo.ui.number(start=0, stop=2**31, value=args.seed, label="seed"),
        )
        .form(submit_button_label="Build this run")
    )
    mo.accordion(
        {"Another model, other problems, or a run to go on with": mo.vstack([setup, look_again])}
    ) if bases else live.no_base("grpo", args.runs_dir, look_again, needed="fine-tuned", made_by="sft")
    return NEW, setup


@app.cell
def _(LIVE, NEW, args, bases, setup):
    options = args
    if LIVE and bases:
        if not args.resume:
            # A page is looked at while it trains: measure often, and little at a time.
            _page = live.where_default(args, eval_every=10, eval_problems=20)
            options = replace(args, load=args.load or bases[0], **_page)
        try:
            if setup.value is not None and setup.value["resume"] != NEW:
                _stored = stored_options(Grpo, "grpo", setup.value["resume"], args.runs_dir)
                options = replace(_stored, reward=args.reward)  # a run's folder names no code
            elif setup.value is not None:
                options = chosen_options(options, setup.value)
        except UserError as _mistake:
            mo.stop(True, live.trouble(_mistake))
    mo.md(
        f"The run begins with the model **{options.load}** and makes {options.steps} steps of "
        f"{options.step_text}. **Press Step 1.**"
    ) if bases else None
    return (options,)


@app.function
def chosen_options(options: Grpo, chosen: dict) -> Grpo:
    """Return the options with what was filled in."""
    files = problem_files(chosen["tasks"], chosen["own"])
    if chosen["own"].strip():
        # Held-out problems of one's own are named on the command line.
        files |= {name: (*getattr(options, name), *some) for name, some in files.items() if "eval_" in name}
    return replace(
        options,
        run=None,
        resume=False,
        load=chosen["base"],
        steps=int(chosen["steps"]),
        prompts=int(chosen["prompts"]),
        group_size=int(chosen["group_size"]),
        max_tokens=int(chosen["max_tokens"]),
        lr=chosen["lr"],
        kl_beta=chosen["kl_beta"],
        seed=int(chosen["seed"]),
        **files,
    )


@app.function
def problem_files(tasks: list[str], own: str) -> dict[str, tuple[str, ...]]:
    """Return the options that name problems: of the built-in world, else the user's own files.

    Raises:
        UserError: a line that does not begin with a kind of problems.
    """
    files: dict[str, list[str]] = {task: [] for task in TASKS}
    files |= {f"eval_{task}": [] for task in TASKS}
    lines = [line.split(maxsplit=1) for line in own.splitlines() if line.strip()]
    for kind, *rest in lines:
        if kind not in TASKS or not rest:
            raise UserError(
                f"{' '.join([kind, *rest])!r}: write the kind ({', '.join(TASKS)}), then the file"
            )
        files[kind].append(rest[0].strip())
    # The command line's own choice is left to it.
    if tasks and (lines or set(tasks) != set(WORLD_TASKS)):
        world = WorldFiles(root=default_world_dir())
        for task in tasks:
            files[task].append(f"{world.jsonl(task, 'train')}:{WORLD_TASKS.get(task, 0.25)}")
            files[f"eval_{task}"].append(str(world.jsonl(task, "test")))
    return {name: tuple(some) for name, some in files.items()}


@app.cell
def _(LIVE, bases, options, setup):
    ctl = None
    if not (LIVE or mo.running_in_notebook()):
        live.run_batch("grpo", options, build_grpo)  # a script: nobody looks at pictures
    elif bases or not LIVE:
        ctl = live.controller("grpo", options, build_grpo, is_new=setup.value is not None)
    return (ctl,)


@app.cell(hide_code=True)
def _(ctl):
    buttons = None if ctl is None else live.buttons(ctl)
    live.row(buttons) if buttons is not None else None
    return


@app.cell(hide_code=True)
def _(ctl, session):
    if ctl is not None:
        live.view(lambda: live.status(ctl), ctl, session, every=0.3)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 1. One step, opened

    The model answers all problems of the step, the answers are judged, the weights move. Each column is one
    problem, each mark one answer. Its height is its reward. Its colour is its advantage: **orange** is to be
    given more often, **blue** less often.
    """)
    return


@app.cell(hide_code=True)
def _(options):
    # Those that are replaced by others are shown too.
    _most = options.prompts * (options.max_draws if options.dynamic_sampling else 1)
    when = mo.ui.slider(0, 100, value=100, label="step: first … newest", full_width=True)
    problem = mo.ui.slider(0, _most, value=0, label="problem (0: the one that teaches most)", show_value=True)
    answer = mo.ui.slider(1, options.group_size, value=1, label="answer", show_value=True)
    colour = mo.ui.dropdown(
        [BY_CHANGE, BY_KL, BY_ENTROPY],
        value=BY_CHANGE,
        label="colour tokens by",
    )
    mo.vstack([when, mo.hstack([problem, answer], justify="start", gap=2), colour])
    return answer, colour, problem, when


@app.cell
def _(ctl):
    def _view(run, key):
        number, _ = key
        practised = run.trainer.batches
        if not practised.latest:  # nothing was practised since the run was built
            return run.trainer.step, None, [], run.tokenizer
        rewards = [[answer.reward for answer in group.answers] for group in practised.latest]
        group = practised.latest[chosen_problem(number, rewards)]
        views = view_group(
            run.model,
            practised.reference,
            group,
            temperature=run.options.temperature,
            pad_id=run.tokenizer.special["<|pad|>"],
        )
        return run.trainer.step, group, views, run.tokenizer

    tokens_seen = None if ctl is None else Asked(ctl, _view)
    return (tokens_seen,)


@app.cell(hide_code=True)
def _(ctl, problem, session, when):
    def _draw():
        groups = groups_of(ctl.history.rollouts(), when.value)
        if not groups:
            return mo.md("No step was made yet: press *Step 1*.")
        return step_view(groups, chosen_problem(problem.value, rewards_of(groups)))

    if ctl is not None:
        live.view(_draw, ctl, session)
    return


@app.function
def groups_of(told: list, percent: int) -> list:
    """Return the groups of one step: that at `percent` of all steps that were told."""
    if not told:
        return []
    steps = sorted({event.step for event in told})
    step = steps[round(percent / 100 * (len(steps) - 1))]
    return [event for event in told if event.step == step]


@app.function
def rewards_of(groups: list) -> list[list[float]]:
    """Return the rewards of all answers, group by group."""
    return [[answer["reward"] for answer in group.answers] for group in groups]


@app.function
def chosen_problem(number: int, rewards: list[list[float]]) -> int:
    """Return the index of problem `number`, counted from 1; of the one with the most varied rewards for 0."""
    if number:
        return min(number, len(rewards)) - 1
    spreads = [max(group) - min(group) for group in rewards]
    return spreads.index(max(spreads))


@app.function
def step_view(groups: list, chosen: int) -> mo.Html:
    """Return how the answers of a step were rewarded."""
    rows = [asdict(group) for group in groups]
    silent = sum(not rollouts.has_signal(row) for row in rows)
    right = [answer["correct"] for row in rows for answer in row["answers"]]
    numbers = [
        mo.stat(f"{groups[0].step}", label="step"),
        mo.stat(f"{sum(right)} of {len(right)}", label="answers right"),
        mo.stat(f"{silent} of {len(rows)}", label="problems without signal"),
        mo.stat(f"{sum(not row['is_trained'] for row in rows)}", label="problems replaced by others"),
    ]
    return mo.vstack([mo.hstack(numbers, widths="equal"), rollouts.strip_figure(rows, chosen=chosen)])


@app.cell(hide_code=True)
def _(answer, ctl, problem, session, when):
    def _draw():
        groups = groups_of(ctl.history.rollouts(), when.value)
        if not groups:
            return mo.md("")
        index = chosen_problem(problem.value, rewards_of(groups))
        return group_view(groups[index], index, min(answer.value, len(groups[index].answers)) - 1)

    if ctl is not None:
        live.view(_draw, ctl, session)
    return


@app.function
def group_view(group, index: int, chosen: int) -> mo.Html:
    """Return a problem with all its answers, rewards and advantages."""
    question = group.prompt[-1]["content"]
    rows = [
        answers.Judged(
            parts=one["parts"],
            is_right=one["correct"],
            rewards=one["rewards"],
            reward=one["reward"],
            advantage=one["advantage"],
            note="" if one["finish_reason"] == "stop" else "cut off",
        )
        for one in group.answers
    ]
    head = mo.md(f"### Problem {index + 1}: {TASKS.get(group.task, group.task)} {group.level}")
    table = answers.group_html(question, group.gold, rows, chosen=chosen)
    return mo.vstack([head, mo.Html(answers.PARTS_LEGEND + table)])


@app.cell(hide_code=True)
def _(answer, colour, ctl, problem, session, tokens_seen):
    def _draw(seen):
        return tokens_view(*seen, number=answer.value - 1, colour=colour.value)

    if ctl is not None:
        live.view(_draw, ctl, session, ask=lambda: tokens_seen.ask((problem.value, ctl.progress[0])))
    return


@app.function
def tokens_view(step: int, group, views: list, tokenizer, number: int, colour: str) -> mo.Html:
    """Return the tokens of one answer of the newest step, coloured by a quantity."""
    if group is None:
        return mo.md("")
    number = min(number, len(views) - 1)
    tokens = views[number]
    ids = [token.id for token in tokens]
    changes = [[token.change for token in answer] for answer in views]
    if colour == BY_CHANGE:
        pieces = answer_pieces(tokenizer, ids, changes[number], say_change)
        # One scale for all answers of the group.
        high = scale_of_changes(change for answer in changes for change in answer)
        legend = "change of its log-probability by this step (0.01: 1 % likelier; the log of the ratio)"
    elif colour == BY_KL:
        pieces = answer_pieces(tokenizer, ids, [token.kl for token in tokens], "divergence {:.3f}".format)
        high = scale_of_changes(token.kl for answer in views for token in answer)
        legend = "part in the divergence, nats"
    else:
        pieces = answer_pieces(tokenizer, ids, [token.entropy for token in tokens], "entropy {:.2f}".format)
        high, legend = 2.0, "entropy, nats"
    head = mo.md(f"### Answer {number + 1} of the newest step ({step}), token by token")
    note = mo.md(
        f"Its advantage is {group.answers[number].advantage:+.2f}. Underlined tokens were put there by the "
        "calculator: no choice of the model, nothing to learn. How much likelier a token has become since "
        "it was drawn is the *importance ratio*, which GRPO keeps near 1."
    )
    return mo.vstack([head, note, mo.Html(token_html(pieces, high=high, legend=legend))])


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 2. The curves

    *Run* makes all steps. The **reward** should rise, and with it the share of right answers, also on
    **held-out** problems that are never practised. `pass@k` says how often one of k tries is right: what the
    model could do if it were surer. **Entropy** falls when it becomes sure; where it falls to nothing, all
    answers are alike and the learning ends. **KL** says how far it has gone from the model it began with.
    """)
    return


@app.cell(hide_code=True)
def _():
    smooth = mo.ui.slider(1, 20, value=3, label="mean over steps", show_value=True)
    mo.hstack([smooth], justify="start")
    return (smooth,)


@app.cell(hide_code=True)
def _(ctl, session, smooth):
    def _draw():
        return curves_view(ctl.history, smooth.value)

    if ctl is not None:
        live.view(_draw, ctl, session, every=1.0)
    return


@app.function
def curves_view(history, smooth_over: int) -> mo.Html:
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
    rows = [figures[i : i + 2] for i in range(0, len(figures), 2)]
    return mo.vstack([mo.hstack(row, widths="equal") for row in rows])


@app.cell(hide_code=True)
def _():
    num_problems = mo.ui.slider(2, 50, value=8, label="problems of each kind", show_value=True)
    again = mo.ui.slider(
        steps=[1, 2, 5, 10, 20, 50], value=10, label="ask again every … steps", show_value=True
    )
    shown = mo.ui.dropdown(["all", "changed", "right now", "wrong now"], value="all", label="show")
    mo.vstack(
        [
            mo.md("""
            ## 3. Held-out problems, before and after

            Problems that are in no training set. Both the model that practice began with and the one that
            practises answer them. A coloured line marks the answers that flipped. Few problems say little:
            the bars are 95 % intervals.
            """),
            mo.hstack([num_problems, again, shown], justify="start", gap=2),
        ]
    )
    return again, num_problems, shown


@app.cell
def _(ctl):
    held_out_seen = None
    if ctl is not None:
        _beginning = lru_cache(maxsize=1)(Beginning)

        def _compare(run, key):
            count, _ = key
            problems = held_out_problems(replace(run.options, eval_problems=count))
            return _beginning(run).compare_problems(run, problems, max_tokens=run.options.max_tokens)

        held_out_seen = Asked(ctl, _compare)
    return (held_out_seen,)


@app.cell(hide_code=True)
def _(again, ctl, held_out_seen, num_problems, session, shown):
    def _ask():
        step = ctl.progress[0]
        if ctl.state == "running":
            step -= step % again.value
        return held_out_seen.ask((num_problems.value, step))

    if ctl is not None:
        live.view(lambda found: held_out_view(found, shown.value), ctl, session, every=1.0, ask=_ask)
    return


@app.function
def held_out_view(found: Comparison, shown: str) -> mo.Html:
    """Return the scores of both models and the problems side by side."""
    if not found.pairs:
        return mo.md("No held-out problems were given for these tasks.")
    flips = [pair.flip for pair in found.pairs]
    lines = [
        f"**{TASKS.get(task, task)}**: {100 * change.value:+.0f} points "
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
            score_figure([found.before, found.now]),
            mo.md(" · ".join(lines)),
            mo.md(
                f"{flips.count('better')} are right now that were wrong, {flips.count('worse')} the reverse."
            ),
            mo.Html(f'<div style="max-height:34em;overflow-y:auto">{table}</div>')
            if chosen
            else mo.md("None."),
        ]
    )


@app.cell(hide_code=True)
def _(ctl, session):
    if ctl is not None:
        live.view(lambda: next_steps(ctl.directory), ctl, session, every=5.0)
    return


@app.function
def next_steps(directory) -> mo.Html:
    """Return what to try after this page."""
    name = "RUN" if directory is None else directory.name
    return mo.md(f"""
    ## What to try next

    - Find a group with one right answer among wrong ones, and see its advantage. Then the other way round.
    - Take answers to each problem down to 2. How many problems still teach something?
    - Set the weight of KL to 0, and train ten times as long. What becomes of entropy, and of the answers?
    - Practise one kind of problem alone. What happens to the others?
    - See all scores of **{name}** beside those of the model it began with: `just notebook eval`. Or talk with
      it: `picochat chat --load {name}`.

    The same run as a batch: `python notebooks/grpo.py -- --help` shows the options, which are those of
    `picochat grpo`. Rewards of your own are functions: `--reward my_file:my_function`.
    """)


if __name__ == "__main__":
    app.run()
