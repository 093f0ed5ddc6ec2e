import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="picochat: practice")

with app.setup(hide_code=True):
    from concurrent.futures import Future
    from dataclasses import replace
    from functools import lru_cache
    from pathlib import Path

    import marimo as mo

    from notebooks import grpo_views as views
    from notebooks import live
    from notebooks.layout import controls, ready, text
    from picochat.commands.grpo import Grpo
    from picochat.data.builtin.write import WorldFiles, default_world_dir
    from picochat.errors import UserError
    from picochat.tasks.registry import LABELS
    from picochat.train.asked import Asked
    from picochat.train.before_after import Beginning
    from picochat.train.grpo import WORLD_TASKS, build_grpo, held_out_problems
    from picochat.train.run_dir import runs_of
    from picochat.train.run_options import stored_options

    TASKS = {task: f"{LABELS[task]} ({task})" for task in ("gsm8k", "tools", "qa", "arc")}
    QUANTITIES = {
        "what the step did to its probability": "change",
        "divergence from the model it began with (KL)": "kl",
        "how open the choice was (entropy)": "entropy",
    }


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Practice: a model that learns from its own tries

    A fine-tuned model imitates. It has seen how sums are worked out, but nobody ever told it whether its own
    answer was right. Now it practises. The method is called *GRPO* (group relative policy optimisation):

    1. It answers **the same problem several times**. There is chance in it, so the answers differ.
    2. Each answer gets a **reward**: is it right, is it well built (a thought, the answer, the end), did it
       use the calculator if it had to? For one that is too long something is taken off.
    3. An answer better than the mean of its group has a positive **advantage**: its tokens become likelier.
       Those of an answer that is worse become less likely.

    No solution is ever shown to it. Where all answers to a problem are alike, there is nothing to learn.

    <em class="pc-preparing">Preparing the page …</em>
    """)
    return


@app.cell
def _():
    LIVE = live.is_live()
    args = live.options(Grpo, prog="notebooks/grpo.py")
    session = live.Session()
    ready()
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
            max_tokens=mo.ui.number(
                start=1, stop=4096, value=args.max_tokens, label="tokens of an answer at most"
            ),
            lr=mo.ui.number(start=0.0, stop=1.0, step=0.0001, value=args.lr, label="learning rate"),
            kl_beta=mo.ui.number(
                start=0.0,
                stop=10.0,
                step=0.01,
                value=args.kl_beta,
                label="weight of staying near the start (KL)",
            ),
            seed=mo.ui.number(
                start=0, stop=2**31, value=args.seed, label="seed (of all chance: the same one, the same run)"
            ),
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

    A problem is **without signal** if all answers to it earned the same: no answer is better than the others.
    Then another is drawn in its place, up to twice, so there may be more columns here than problems per step.

    **What counts as right:** of word problems and calculator tasks the number behind `####`, however it was
    found, by luck too. Of plain questions the name, in small or capital letters, as part of a sentence too.
    """)
    return


@app.cell(hide_code=True)
def _(options):
    # A field, not a slider: how many problems a step has is known when those without signal were replaced.
    _most = options.prompts * (options.max_draws if options.dynamic_sampling else 1)
    when = mo.ui.slider(0, 100, value=100, label="step: first … newest", full_width=True)
    problem = mo.ui.number(0, _most, step=1, value=0, label="problem (0: the one that teaches most)")
    answer = mo.ui.slider(1, options.group_size, value=1, label="answer", show_value=True)
    colour = mo.ui.dropdown(QUANTITIES, value=next(iter(QUANTITIES)), label="colour tokens by")
    mo.vstack([when, controls(problem, answer, colour)])
    return answer, colour, problem, when


@app.cell
def _(ctl):
    def _look(run, key):
        number, _ = key
        return views.look_at_tokens(run, number)

    tokens_seen = None if ctl is None else Asked(ctl, _look)
    return (tokens_seen,)


@app.cell(hide_code=True)
def _(ctl, problem, session, when):
    def _draw():
        groups = views.groups_of(ctl.history.rollouts(), when.value)
        if not groups:
            return mo.md("No step was made yet: press *Step 1*.")
        return views.step_view(
            groups, views.chosen_problem(int(problem.value or 0), views.rewards_of(groups))
        )

    if ctl is not None:
        live.view(_draw, ctl, session)
    return


@app.cell(hide_code=True)
def _(answer, ctl, problem, session, when):
    def _draw():
        groups = views.groups_of(ctl.history.rollouts(), when.value)
        if not groups:
            return mo.md("")
        index = views.chosen_problem(int(problem.value or 0), views.rewards_of(groups))
        chosen = min(answer.value, len(groups[index].answers)) - 1
        return views.group_view(groups, index, chosen, ctl.directory.info()["options"])

    if ctl is not None:
        live.view(_draw, ctl, session)
    return


@app.cell(hide_code=True)
def _(answer, colour, ctl, problem, session, tokens_seen, when):
    def _ask():
        if views.shows_newest(ctl.history.rollouts(), when.value):
            return tokens_seen.ask((int(problem.value or 0), ctl.progress[0]))
        nothing = Future()
        nothing.set_result(None)
        return nothing

    def _draw(seen):
        is_begun = bool(ctl.history.rollouts())
        return views.tokens_view(seen, answer.value - 1, colour.value) if is_begun else mo.md("")

    if ctl is not None:
        live.view(_draw, ctl, session, ask=_ask)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 2. The curves

    *Run* makes all steps. What to expect depends on the model that practice begins with, for it learns only
    from problems that it does now and then.

    - **The model of these pages**, as they are set, does 51 to 64 % of the held-out word problems before.
      These 60 steps added 15, 13 and 11 points with three seeds. How it uses the calculator and knows its
      facts went up with one seed and with the others to and fro, as 100 problems do by chance.
    - **A model that was trained for less** is right one time in ten, or in two at best, and practice mostly
      leaves it so: right answers go up and down by chance. What moves first is the form: watch *well built*,
      the length and **entropy**.
    - **The model of `just demo`** (choose `demo-sft` above) does 72 to 82 % of the harder sums before, and
      practice added 9, 16 and 12 points with three seeds.

    **Held-out** problems are never practised. `pass@k` says how often one of k tries is right: what the model
    could do if it were surer. **Entropy** falls when it becomes sure; where it falls to nothing, all answers
    are alike and the learning ends. **KL** says how far it has gone from the model it began with.
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
        return views.curves_view(ctl.history, smooth.value)

    if ctl is not None:
        live.view(_draw, ctl, session, every=1.0)
    return


@app.cell(hide_code=True)
def _():
    num_problems = mo.ui.slider(2, 50, value=8, label="problems of each kind", show_value=True)
    again = mo.ui.slider(
        steps=[1, 2, 5, 10, 20, 50], value=10, label="ask again every … steps", show_value=True
    )
    shown = mo.ui.dropdown(["all", "changed", "right now", "wrong now"], value="all", label="show")
    mo.vstack(
        [
            text("""
            ## 3. Held-out problems, before and after

            Problems that are in no training set. Both the model that practice began with and the one that
            practises answer them. A coloured line marks the answers that flipped. Few problems say little:
            the bars are 95 % intervals.
            """),
            controls(num_problems, again, shown),
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
        live.view(lambda found: views.held_out_view(found, shown.value), ctl, session, every=1.0, ask=_ask)
    return


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
    - Go on, in another terminal (this one serves the page until Ctrl-C): `just app eval` shows all scores of
      **{name}** beside those of the model it began with. Or talk with it: `picochat chat --load {name}`.

    The same run as a batch: `python notebooks/grpo.py -- --help` shows the options, which are those of
    `picochat grpo`. Rewards of your own are functions: `--reward my_file:my_function`.
    """)


if __name__ == "__main__":
    app.run()
