import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="picochat: fine-tuning")

with app.setup(hide_code=True):
    from dataclasses import replace
    from functools import lru_cache
    from pathlib import Path

    import marimo as mo

    from notebooks import curve_views, live, words
    from picochat.commands.sft import Sft
    from picochat.data.builtin.write import WorldFiles, default_world_dir
    from picochat.errors import UserError
    from picochat.plots import answers, batches
    from picochat.plots.token_pieces import MOST_LOSS, conversation_pieces
    from picochat.plots.tokens import token_html
    from picochat.train.asked import Asked
    from picochat.train.batch_view import BatchView, view_batch
    from picochat.train.before_after import Beginning
    from picochat.train.run_dir import resolve_checkpoint, runs_of
    from picochat.train.run_options import stored_options
    from picochat.train.sft import build_sft

    QUESTIONS = (
        "Hello!\n"
        "Who are you?\n"
        "Where does Mara live?\n"
        "Ben has 44 shells. He finds 18 more. How many shells does Ben have now?"
    )
    ANSWER_TOKENS = 64


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Fine-tuning: from a model that goes on to a model that answers

    A pretrained model has read a lot and learned one thing: what comes next. Ask it something, and it goes
    on with your text as a story would. *Supervised fine-tuning* (SFT) shows it conversations and teaches it
    to speak **the assistant's part**.

    It is the same training as before, with one change: the loss counts **only the assistant's words**. The
    questions are read, but the model does not have to learn to ask them (they are *masked*). The first
    picture shows it.
    """)
    return


@app.cell(hide_code=True)
def _():
    words.glossary()
    return


@app.cell
def _():
    LIVE = live.is_live()
    args = live.options(Sft, prog="notebooks/sft.py")
    session = live.Session()
    return LIVE, args, session


@app.cell(hide_code=True)
def _():
    look_again = mo.ui.button(label="Look for runs again", value=0, on_click=lambda count: count + 1)
    return (look_again,)


@app.cell
def _(args, look_again):
    look_again.value  # noqa: B018 (a run may have been trained elsewhere meanwhile)
    bases = [run.name for run in runs_of(Path(args.runs_dir), "pretrain")]
    unfinished = [run.name for run in runs_of(Path(args.runs_dir), "sft") if run.can_resume()]
    if args.load and args.load not in bases:
        bases = [args.load, *bases]
    return bases, unfinished


@app.cell(hide_code=True)
def _(args, bases, look_again, unfinished):
    NEW = "a new run"
    setup = (
        mo.md("""
        {base} {resume}

        {with_builtin} {builtin_weight}

        {own}

        {steps} {batch_size} {lr} {seed}
        """)
        .batch(
            base=mo.ui.dropdown(bases, value=bases[0] if bases else None, label="begin with the model"),
            resume=mo.ui.dropdown([NEW, *unfinished], value=NEW, label="as"),
            with_builtin=mo.ui.checkbox(
                value=not args.data, label="conversations of the built-in world, with the weight"
            ),
            builtin_weight=mo.ui.number(start=0.0, stop=100.0, step=0.1, value=1.0),
            own=mo.ui.text_area(
                value="\n".join(args.data),
                placeholder="my/chat.jsonl:1.0",
                label="your own conversations: JSON-lines files, one a line, with a weight behind a colon",
                rows=2,
                full_width=True,
            ),
            steps=mo.ui.number(start=1, stop=100_000, value=args.steps, label="steps"),
            batch_size=mo.ui.number(start=1, stop=512, value=args.batch_size, label="rows per step"),
            lr=mo.ui.number(start=0.0, stop=1.0, step=0.0005, value=args.lr, label="learning rate"),
            seed=mo.ui.number(start=0, stop=2**31, value=args.seed, label="seed"),
        )
        .form(submit_button_label="Build this run")
    )
    words.folded(
        "Another model, your own conversations, or a run to go on with", mo.vstack([setup, look_again])
    ) if bases else live.no_base("sft", args.runs_dir, look_again, needed="pretrained", made_by="pretrain")
    return NEW, setup


@app.cell
def _(LIVE, NEW, args, bases, setup):
    options = args
    if LIVE and bases:
        if not args.resume:
            # A page is looked at while it trains: measure often, and little at a time.
            _page = live.where_default(args, eval_every=20, eval_tokens=8192)
            options = replace(args, load=args.load or bases[0], **_page)
        try:
            if setup.value is not None and setup.value["resume"] != NEW:
                options = stored_options(Sft, "sft", setup.value["resume"], args.runs_dir)
            elif setup.value is not None:
                options = chosen_options(options, setup.value)
            if not options.resume:
                resolve_checkpoint(options.load, Path(options.runs_dir))
        except UserError as _mistake:
            mo.stop(True, live.trouble(_mistake))
    return (options,)


@app.function
def chosen_options(options: Sft, chosen: dict) -> Sft:
    """Return the options with what was filled in."""
    own = tuple(line.strip() for line in chosen["own"].splitlines() if line.strip())
    data = own
    if own and chosen["with_builtin"]:
        builtin = WorldFiles(root=default_world_dir()).jsonl("chat", "train")
        data = (f"{builtin}:{chosen['builtin_weight']}", *own)
    return replace(
        options,
        run=None,
        resume=False,
        load=chosen["base"],
        data=data,
        steps=int(chosen["steps"]),
        batch_size=int(chosen["batch_size"]),
        lr=chosen["lr"],
        seed=int(chosen["seed"]),
    )


@app.cell
def _(LIVE, bases, options, setup):
    ctl = None
    if not (LIVE or mo.running_in_notebook()):
        live.run_batch("sft", options, build_sft)  # a script: nobody looks at pictures
    elif bases or not LIVE:
        ctl = live.controller("sft", options, build_sft, is_new=setup.value is not None)
    return (ctl,)


@app.cell(hide_code=True)
def _(ctl):
    # Not as this page was opened: it may have been loaded again and found its run.
    _asked = None if ctl is None else ctl.options
    mo.md(
        f"The run begins with the model **{_asked.load}** and makes {_asked.steps} steps of "
        f"{_asked.batch_size} rows. **Press Step 1.**"
    ) if _asked is not None else None
    return


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
    ## 1. What the model sees

    Conversations are short and rows are long, so several are **packed** into one row, whole. Each colour is
    a conversation. Where the colour is strong, the model has to produce the token and is corrected: the
    assistant's words. Where it is pale, the token is only read. This is the batch that the next step takes:
    of the built-in ones some are small talk, some ask about people, four in ten are sums.
    """)
    return


@app.cell
def _(ctl):
    batch_seen = None if ctl is None else Asked(ctl, lambda run, _: (view_batch(run), run.tokenizer))
    return (batch_seen,)


@app.cell(hide_code=True)
def _(batch_seen, ctl, session):
    def _draw(seen):
        return batch_view(*seen)

    if ctl is not None:
        live.view(_draw, ctl, session, every=1.0, ask=lambda: batch_seen.ask(ctl.progress[0]))
    return


@app.function
def batch_view(seen: BatchView, tokenizer) -> mo.Html:
    """Return the picture of a batch and what it is made of."""
    found = seen.shares
    figure = batches.batch_figure(seen.spans, text_of=lambda span: seen.text_of(span, tokenizer))
    numbers = [
        mo.stat(f"{seen.step}", label="the batch of step"),
        mo.stat(f"{found.num_documents}", label="conversations in it"),
        mo.stat(f"{found.learned:.0%}", label="of the tokens are learned"),
        mo.stat(f"{found.padding:.1%}", label="is padding, wasted"),
    ]
    return mo.vstack([mo.hstack(numbers, widths="equal"), figure])


@app.cell(hide_code=True)
def _():
    number = mo.ui.slider(1, 24, value=1, label="conversation number", show_value=True)
    by_loss = mo.ui.switch(label="colour by how surprised the model is (loss of each token)")
    mo.vstack(
        [
            mo.md("""
            ### One conversation of it

            Tags in frames are *special tokens*: they say where a turn begins and ends. The tag that ends the
            assistant's turn is learned too: the model has to know when to stop. In a sum the assistant
            *thinks* first, then calls the calculator and reads its result, which is put there and not
            learned. Behind `####` stands the bare answer, so that it can be checked.
            """),
            mo.hstack([number, by_loss], justify="start", gap=2),
        ]
    )
    return by_loss, number


@app.cell(hide_code=True)
def _(batch_seen, by_loss, ctl, number, session):
    def _draw(seen):
        return conversation_view(*seen, number=number.value, by_loss=by_loss.value)

    if ctl is not None:
        live.view(_draw, ctl, session, every=1.0, ask=lambda: batch_seen.ask(ctl.progress[0]))
    return


@app.function
def conversation_view(seen: BatchView, tokenizer, number: int, by_loss: bool) -> mo.Html:
    """Return the tokens of one conversation of a batch."""
    last = seen.shares.num_documents
    ids, learned, losses = seen.document(min(number, last) - 1)
    pieces = conversation_pieces(tokenizer, ids, learned, losses if by_loss else None)
    note = (
        f"Conversation {min(number, last)} of {last}: {len(ids)} tokens. "
        f"**{sum(learned) / len(learned):.0%}** are learned and coloured, the others only read."
    )
    legend = "loss of a learned token, nats" if by_loss else ""
    return mo.vstack([mo.md(note), mo.Html(token_html(pieces, high=MOST_LOSS, legend=legend))])


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 2. The loss on answers

    One step: the batch above goes through the model, its weights move a little, the next batch comes. The
    loss is the mean surprise at the assistant's tokens, in *nats* (0 would be certainty). The first steps
    bring most: the model soon learns the *form* of an answer. The validation loss is that of conversations
    that are never trained on, measured now and then. Questions and switches stay when the page is loaded
    again.
    """)
    return


@app.cell(hide_code=True)
def _():
    smooth = mo.ui.slider(1, 50, label="mean over steps", show_value=True, **live.kept("sft.smooth", 10))
    log_x = mo.ui.switch(label="log steps", **live.kept("sft.log_x", False))
    log_y = mo.ui.switch(label="log loss", **live.kept("sft.log_y", False))
    mo.hstack([smooth, log_x, log_y], justify="start", gap=2, wrap=True)
    return log_x, log_y, smooth


@app.cell(hide_code=True)
def _(ctl, log_x, log_y, session, smooth):
    def _draw():
        return curve_views.loss_view(
            ctl.history,
            smooth_over=smooth.value,
            y_title="loss on answers, nats per token",
            log_x=log_x.value,
            log_y=log_y.value,
            height=360,
        )

    if ctl is not None:
        live.view(_draw, ctl, session)
    return


@app.cell(hide_code=True)
def _():
    questions = mo.ui.text_area(
        rows=4,
        full_width=True,
        debounce=500,
        label="questions, one a line; add your own",
        **live.kept("sft.questions", QUESTIONS),
    )
    every = mo.ui.slider(
        steps=[1, 2, 5, 10, 20, 50, 100], value=10, label="ask again every … steps", show_value=True
    )
    mo.vstack(
        [
            mo.md("""
            ## 3. The same questions, before and after

            On the left the model that the run began with, on the right the one in training. Both say what
            they find likeliest, so every difference comes from the weights. Most of what it knows it knows
            already; here it learns to answer, in a sentence or two, and to stop. *Where does Mara live?* may
            get a sum for an answer: four in ten of the built-in conversations are sums, and a model that has
            read little does not yet tell one kind of question from another.
            """),
            questions,
            every,
        ]
    )
    return every, questions


@app.cell
def _(ctl):
    answers_seen = None
    if ctl is not None:
        _beginning = lru_cache(maxsize=1)(Beginning)

        def _compare(run, key):
            texts, _ = key
            return run.trainer.step, _beginning(run).compare(run, texts, max_tokens=ANSWER_TOKENS)

        answers_seen = Asked(ctl, _compare)
    return (answers_seen,)


@app.cell(hide_code=True)
def _(answers_seen, ctl, every, questions, session):
    _texts = tuple(line.strip() for line in questions.value.splitlines() if line.strip())

    def _ask():
        step = ctl.progress[0]
        if ctl.state == "running":
            step -= step % every.value
        return answers_seen.ask((_texts, step))

    if ctl is not None and _texts:
        live.view(answers_view, ctl, session, every=1.0, ask=_ask)
    return


@app.function
def answers_view(found: tuple) -> mo.Html:
    """Return what both models answer."""
    step, pairs = found
    now = f"after {step} steps" if step != 1 else "after 1 step"
    return mo.Html(answers.side_by_side_html(pairs, before="the model it began with", now=now))


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

    - Press *Step 1* a few times and read the answers after each. Which come first: the form, or the facts?
    - Colour a conversation by loss, then train. Which tokens stay surprising?
    - Ask for a person that nobody told it about. Does it know that it does not know?
    - Write ten conversations of your own in a file, one `{{"messages": [...]}}` a line, and give it half the
      weight.
    - It answers now, but its sums are often wrong. `notebooks/grpo.py` lets it practise:
      `just app grpo`, and choose **{name}** there. Or talk with it: `picochat chat --load {name}`.

    The same run as a batch: `python notebooks/sft.py -- --help` shows the options, which are those of
    `picochat sft`.
    """)


if __name__ == "__main__":
    app.run()
