import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="picochat: pretraining")

with app.setup:
    import math
    from dataclasses import dataclass, replace
    from pathlib import Path

    import marimo as mo

    from notebooks import live
    from picochat.commands.pretrain import Pretrain
    from picochat.model.config import ModelConfig
    from picochat.plots.attention import attention_grid, attention_map
    from picochat.plots.curves import Curve, loss_figure
    from picochat.plots.lens import lens_figure, next_token_figure
    from picochat.plots.samples import sample_html
    from picochat.plots.tokens import Piece, token_html
    from picochat.plots.training import mark_changes, mark_place, ratio_figure
    from picochat.train.events import EvalDone, StepDone
    from picochat.train.looks import Looks
    from picochat.train.pretrain import build_pretrain
    from picochat.train.run_dir import list_runs
    from picochat.train.run_options import stored_options

    NEW = "a new run"


@app.class_definition
@dataclass(frozen=True, kw_only=True)
class PretrainPage(Pretrain):
    """Train a model on raw text; small enough by default to watch it learn."""

    vocab_size: int = 1024
    depth: int = 2
    seq_len: int = 128
    steps: int = 300
    warmup: int = 10
    eval_every: int = 25
    eval_tokens: int = 8192
    sample_every: int = 25
    save_every: int = 25
    keep: int = 200
    prompts: tuple[str, ...] = ("Once upon a time", "Rosa lives in", "Prices at the market:")


@app.function
def build(options, *, progress):
    """Return the run, with a checkpoint of the untrained model, from which the replay begins."""
    run = build_pretrain(options, progress=progress)
    if run.trainer.step == 0:
        run.save()
    return run


@app.function
def form_of(options):
    """Return the form in which another run is chosen; its value is None until it is sent."""
    runs = [run.name for run in list_runs(Path(options.runs_dir)) if run.info()["stage"] == "pretrain"]
    return (
        mo.md(
            "{run}\n\n**For a new run** (the others keep what they were begun with):\n\n{data}\n\n"
            "{tokenizer}\n\n{vocab_size} {depth} {seq_len}\n\n{batch_size} {steps} {lr} {seed}"
        )
        .batch(
            run=mo.ui.dropdown([NEW, *runs], value=NEW, label="run"),
            data=mo.ui.text(
                value=", ".join(options.data),
                placeholder="empty: the built-in world. Or files and folders, with commas between them",
                label="text (txt, jsonl, parquet)",
                full_width=True,
            ),
            tokenizer=mo.ui.text(
                value=options.tokenizer or "",
                placeholder="empty: one is trained on the text. Or a tokenizer.json, or a folder with one",
                label="tokenizer",
                full_width=True,
            ),
            vocab_size=mo.ui.number(value=options.vocab_size, step=1, label="vocabulary"),
            depth=mo.ui.number(value=options.depth, step=1, label="layers"),
            seq_len=mo.ui.number(value=options.seq_len, step=1, label="context, tokens"),
            batch_size=mo.ui.number(value=options.batch_size, step=1, label="sequences a step"),
            steps=mo.ui.number(value=options.steps, step=1, label="steps"),
            lr=mo.ui.number(value=options.matrix_lr, step=0.00001, label="learning rate"),
            seed=mo.ui.number(value=options.seed, step=1, label="seed"),
        )
        .form(submit_button_label="Build this model")
    )


@app.function
def choose(options: PretrainPage, value: dict | None) -> PretrainPage:
    """Return the options that the form asks for; the given ones as long as it was not sent."""
    if value is None:
        return options
    if value["run"] != NEW:
        return stored_options(type(options), "pretrain", value["run"], options.runs_dir)
    words = [word.strip() for word in value["data"].split(",")]
    numbers = ("vocab_size", "depth", "seq_len", "batch_size", "steps", "lr", "seed")
    return replace(
        options,
        run=None,
        resume=False,
        data=tuple(word for word in words if word),
        tokenizer=value["tokenizer"].strip() or None,
        **{name: value[name] for name in numbers},
    )


@app.cell
def _():
    mo.md("""
    # Pretraining: guess the next token

    A language model does one thing: it reads some text and says how likely every token is to come next. It
    learns that by doing it. **One step** of training is: take a few stretches of text, let the model guess
    every next token in them, see how wrong it was (the **loss**), and nudge each weight a little in the
    direction that makes the loss smaller. Nothing else happens, a few hundred times here, a few hundred
    thousand times for a large model.

    On this page you make these steps yourself, one or many at a time, and see what each of them changes:
    what the model says, what it expects, and what it looks at. A small model is ready below: **press
    Step 1.**
    """)
    return


@app.cell
def _():
    options = live.options(PretrainPage, prog="pretrain.py", summary="train a model on raw text")
    return (options,)


@app.cell
def _(options):
    form = form_of(options)
    mo.accordion({"Another model: your own text, another size, or a run to go on with": form})
    return (form,)


@app.cell
def _(form, options):
    chosen = live.checked(lambda: choose(options, form.value))
    controller = live.controller("pretrain", chosen, build, is_new=form.value is not None)
    session = live.Session()
    looks = Looks(controller, max_tokens=48)
    return chosen, controller, looks, session


@app.cell
def _(controller):
    controls = live.buttons(controller)
    live.row(controls)
    return (controls,)


@app.cell
def _(controller, session):
    live.view(lambda: live.status(controller), controller, session, every=0.3)
    return


@app.cell
def _():
    mo.md("""
    ## Is it learning?

    The **training loss** is the surprise at the tokens of the present step, in nats: 0 would be certainty,
    and a model that knows nothing has ln(vocabulary): 6.9 with 1,000 tokens, 7.6 with 2,048. It jumps, for
    every step has other text; the bold line is its running mean. The **validation loss** is measured on text
    that is never trained on. As long as both fall together, the model learns something that holds for new
    text too. Where only the training loss falls, it learns by heart.
    """)
    return


@app.cell
def _():
    smooth = mo.ui.slider(1, 100, value=10, label="steps of the running mean", show_value=True, debounce=True)
    log_x = mo.ui.switch(label="log steps")
    log_y = mo.ui.switch(label="log loss")
    mo.hstack([smooth, log_x, log_y], justify="start", gap=2, wrap=True)
    return log_x, log_y, smooth


@app.cell
def _(chosen, controller, log_x, log_y, session, smooth, when):
    def draw_loss():
        history = controller.history
        steps, values = history.curve(StepDone, "loss")
        train = Curve(name="training", steps=steps, values=values)
        steps, values = history.curve(EvalDone, "metrics", "val_loss")
        validation = Curve(name="validation", steps=steps, values=values)
        figure = loss_figure(
            [train, validation],
            smooth_over=smooth.value,
            y_title="loss, nats per token",
            log_x=log_x.value,
            log_y=log_y.value,
            height=400,
        )
        mark_changes(figure, train, live.change_marks(history, chosen.batch_size))
        if when.value < chosen.steps:
            mark_place(figure, validation, when.value, "")
        return figure

    live.view(draw_loss, controller, session, every=1.0)
    return


@app.cell
def _():
    mo.md("""
    **What to look for.** The first steep fall, to about 4, is the model finding out which tokens are
    frequent. After that it learns which follow which, then whole words and phrases. **What to try:** switch
    both axes to log; the curve becomes nearly straight, which is why people can foretell what a larger model
    will reach.

    ### Change it while it trains

    The **learning rate** says how far a nudge goes. Multiply it by 5 and press Apply: the loss jumps, maybe
    never to come back. Divide it by 5: the curve becomes smooth and slow. A larger **batch** makes every step
    dearer and less noisy. Changes are marked on the curve and kept with the run.
    """)
    return


@app.cell
def _(chosen):
    lr_scale = mo.ui.slider(
        steps=[0.1, 0.2, 0.5, 1, 2, 5, 10], value=1, label="learning rate ×", show_value=True
    )
    sizes = sorted({chosen.batch_size, *(2**i * chosen.grad_accum for i in range(7))})
    batch_size = mo.ui.dropdown(
        {str(size): size for size in sizes}, value=str(chosen.batch_size), label="batch, sequences a step"
    )
    return batch_size, lr_scale


@app.cell
def _(batch_size, controller, lr_scale):
    apply = mo.ui.button(
        label="Apply",
        on_click=lambda _: controller.change(lr_scale=lr_scale.value, batch_size=batch_size.value) and None,
        tooltip="from the next step on",
    )
    mo.hstack([lr_scale, batch_size, apply], justify="start", gap=2, align="center", wrap=True)
    return (apply,)


@app.cell
def _():
    mo.md("""
    ### Is it healthy?

    **Bits per byte** is the validation loss counted per byte of text instead of per token, so that models
    with different tokenizers can be compared; 8 is no knowledge at all. The **learning rate** rises, stays
    and falls to zero by plan. The **gradient norm** is how strongly the weights are pulled in all; a spike
    means that a step met something strange. **Update / weights** tells by which share of its length each
    group of weights moves in a step: about a thousandth is right, a tenth is far too much.
    """)
    return


@app.cell
def _(controller, log_x, session):
    def draw_health():
        history = controller.history

        def curve(kind, *path, name=None):
            steps, values = history.curve(kind, *path)
            return Curve(name=name or path[-1], steps=steps, values=values)

        groups = history.names(StepDone, "lr")
        looks_of = {"log_x": log_x.value, "height": 270}
        bpb = loss_figure([curve(EvalDone, "metrics", "bpb")], y_title="bits per byte", **looks_of)
        lr = loss_figure(
            [curve(StepDone, "lr", group) for group in groups],
            smooth_over=1,
            y_title="learning rate",
            log_y=True,
            **looks_of,
        )
        norm = loss_figure(
            [curve(StepDone, "grad_norm", name="gradient norm")], y_title="norm", log_y=True, **looks_of
        )
        ratio = ratio_figure([curve(StepDone, "update_ratio", group) for group in groups], **looks_of)
        speed = loss_figure(
            [curve(StepDone, "tokens_per_second", name="tokens a second")], y_title="tokens / s", **looks_of
        )
        return mo.vstack(
            [
                mo.hstack([bpb, speed], widths="equal"),
                mo.hstack([norm, ratio], widths="equal"),
                lr,
            ]
        )

    live.view(draw_health, controller, session, every=4.0)
    return


@app.cell
def _():
    mo.md("""
    ## What does it say?

    Now and then the model is asked to go on from the same few words. At step 0 it draws tokens blindly. Watch
    how words come first, then phrases, then sentences that hold together for a while. It never sees these
    prompts in a special way: they are only read, not trained on.
    """)
    return


@app.cell
def _(controller, session):
    def draw_samples():
        samples = [(event.step, event.prompt, event.text) for event in controller.history.samples()]
        return mo.Html(sample_html(samples)) if samples else mo.md("*no sample yet*")

    live.view(draw_samples, controller, session, every=2.0)
    return


@app.cell
def _():
    mo.md("""
    ## Look inside, on your own words

    Everything from here on is about **your text**, and changes while the model trains. The slider goes back
    in time: it shows the model as it was saved on the way (the far right is now). Train to the end, then draw
    the slider slowly from left to right.
    """)
    return


@app.cell
def _(chosen):
    prompt = mo.ui.text(
        value="Rosa lives in Seagate. Rosa keeps a cat. Rosa",
        label="your text",
        full_width=True,
        debounce=250,
    )
    when = mo.ui.slider(
        0, chosen.steps, value=chosen.steps, label="the model as of step", show_value=True, full_width=True
    )
    mo.vstack([prompt, when])
    return prompt, when


@app.cell
def _(chosen, looks, prompt, when):
    at = None if when.value >= chosen.steps else when.value
    question = looks.asking(prompt.value, at)
    return (question,)


@app.cell
def _():
    mo.md("""
    ### How surprised is it, token by token?

    Each token is coloured by its loss: the stronger, the less the model expected it. Hover over one for the
    numbers. **What to look for:** beginnings of words and names stay hard, for much can come there; the rest
    of a word is easy once its beginning stands. **What to try:** write a sentence of the world that it reads,
    then spoil one word.
    """)
    return


@app.cell
def _(controller, question, session):
    def draw_tokens(look):
        pieces = [
            Piece(
                text=token,
                value=None if place == 0 else float(loss),
                hover=f"loss {loss:.2f} nats\nprobability {math.exp(-loss):.2%}" if place else "given",
                is_special=place == 0,
            )
            for place, (token, loss) in enumerate(zip(look.tokens, look.loss_T, strict=True))
        ]
        losses = look.loss_T[1:]
        mean = f"mean loss {losses.mean():.2f} nats a token · " if len(losses) else ""
        return mo.vstack(
            [
                mo.Html(token_html(pieces, high=8.0, legend="loss in nats")),
                mo.md(f"{mean}model of step **{look.step:,}**"),
            ]
        )

    live.view(draw_tokens, controller, session, every=1.5, ask=question, meanwhile=question.meanwhile)
    return


@app.cell
def _():
    mo.md("""
    ### What comes next?

    The model's whole answer is this: a probability for every token of the vocabulary. The likeliest are shown
    (`·` is a space, `↵` the end of a line). To write text, one of them is drawn, put behind the text, and the
    model is asked again. A sure model has one long bar; an honest one has many short ones where many things
    can follow.
    """)
    return


@app.cell
def _(controller, question, session):
    def draw_next(look):
        return next_token_figure(look.next_tokens, look.next_probs_K)

    live.view(draw_next, controller, session, every=1.5, ask=question, meanwhile=question.meanwhile)
    return


@app.cell
def _():
    mo.md("""
    ### What does it look at?

    In every layer a few **heads** let each token collect something from the tokens before it. A head's map
    has a row for each token of your text: bright is where it looks. The upper right is empty, for nobody can
    look ahead. **What to look for:** an untrained head spreads its attention evenly. Later you find heads
    that look at the token just before (a bright line beside the diagonal), at the first token (a bright left
    column, which means "nothing to fetch here"), or at earlier mentions of the same word.
    """)
    return


@app.cell
def _(chosen):
    shape = ModelConfig.from_depth(chosen.depth)
    layer = mo.ui.slider(0, max(shape.n_layer - 1, 1), value=0, label="layer", show_value=True)
    head = mo.ui.slider(0, max(shape.n_head - 1, 1), value=0, label="head", show_value=True)
    mo.hstack([layer, head], justify="start", gap=2)
    return head, layer


@app.cell
def _(controller, head, layer, question, session):
    def draw_heads(look):
        place = (min(layer.value, look.num_layers - 1), min(head.value, look.num_heads - 1))
        return attention_grid(look.attention_LHTT, selected=place)

    live.view(draw_heads, controller, session, every=2.0, ask=question, meanwhile=question.meanwhile)
    return


@app.cell
def _(controller, head, layer, question, session):
    def draw_head(look):
        place = (min(layer.value, look.num_layers - 1), min(head.value, look.num_heads - 1))
        title = f"layer {place[0]}, head {place[1]}, step {look.step}"
        return attention_map(look.attention_LHTT[place], look.tokens, title=title)

    live.view(draw_head, controller, session, every=2.0, ask=question, meanwhile=question.meanwhile)
    return


@app.cell
def _():
    mo.md("""
    ### When does it know?

    The model has layers, and each adds a little to what it holds about every token. The **logit lens** asks
    after each of them: if you had to answer now, what would come next? Read a column from the bottom up: the
    answer forms on the way, and gets brighter as the model becomes sure. In the lowest row it knows nothing
    but the token itself.
    """)
    return


@app.cell
def _(controller, question, session):
    def draw_lens(look):
        return lens_figure(look.lens_tokens_LT, look.lens_probs_LT, look.tokens)

    live.view(draw_lens, controller, session, every=2.0, ask=question, meanwhile=question.meanwhile)
    return


@app.cell
def _(controller, session):
    def draw_end():
        directory = controller.directory
        name = "RUN" if directory is None else directory.name
        return mo.md(f"""
    ## What to try next

    - Reset, and train with ten times the learning rate from the first step on.
    - Train on your own text: open the form at the top and name a file or a folder.
    - Make it deeper. Twice the layers is about eight times the work: does the loss tell?
    - The model goes on with text, but it does not answer. `notebooks/sft.py` teaches it to:
      `just notebook sft`, and choose **{name}** there. In a terminal,
      `picochat chat --load {name} --complete` lets you write with it.

    The same run as a batch: `python notebooks/pretrain.py -- --help` shows the options, which are those of
    `picochat pretrain`.
    """)

    live.view(draw_end, controller, session, every=5.0)
    return


if __name__ == "__main__":
    app.run()
