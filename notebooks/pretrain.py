import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="picochat: pretraining")

with app.setup(hide_code=True):
    import marimo as mo

    from notebooks import curve_views, live, words
    from notebooks.pretrain_form import PretrainPage, choose, form_of
    from notebooks.status import model_line
    from picochat.model.config import ModelConfig
    from picochat.plots.attention import attention_grid, attention_map
    from picochat.plots.lens import lens_figure, next_token_figure
    from picochat.plots.samples import documents_html, sample_html
    from picochat.plots.token_pieces import surprise_pieces
    from picochat.plots.tokens import token_html
    from picochat.train.asked import Asked
    from picochat.train.documents import example_documents
    from picochat.train.looks import Looks
    from picochat.train.pretrain import build_pretrain

    # A run whose model is worth chatting with: depth 4, as `picochat demo` trains it; time on two cores.
    FULL_STEPS, FULL_MINUTES = 1800, 40


@app.cell
def _():
    mo.md("""
    # Pretraining: guess the next token

    A language model does one thing: it reads some text and says how likely every token (a word, or a piece
    of one) is to come next. It learns that by doing it. **One step** of training is: take a few stretches of
    text, let the model guess every next token in them, see how wrong it was (the **loss**), and nudge each
    **weight**, one of the numbers that it computes with, a little in the direction that makes the loss
    smaller. Nothing else happens, a thousand times here, a few hundred thousand times for a large model.

    On this page you make these steps yourself, one or many at a time, and see what each of them changes:
    what the model says, what it expects, and what it looks at. A small model is made ready below, which
    takes some seconds: **press Step 1,** and after a few steps **Run.**
    """)
    return


@app.cell
def _():
    mo.vstack(
        [
            mo.md(f"""
    **What to expect.** The model below is the smallest that shows it all. In its few minutes it learns
    words, names, how sentences are built, and much of what its text says; on the next pages it learns to
    answer with that and to calculate. A larger one answers better: with 4 layers, a vocabulary of 2,048, a
    context of 256 and {FULL_STEPS:,} steps it takes about {FULL_MINUTES} minutes on two cores. Set these in
    the form below, or let `picochat demo` train all stages.
    """),
            words.glossary(),
        ]
    )
    return


@app.cell
def _():
    options = live.options(PretrainPage, prog="pretrain.py", summary="train a model on raw text")
    return (options,)


@app.cell
def _():
    look_again = mo.ui.button(
        label="Look for runs and tokenizers again", value=0, on_click=lambda count: count + 1
    )
    return (look_again,)


@app.cell
def _(look_again, options):
    look_again.value  # noqa: B018 (they may have been made on another page meanwhile)
    form = form_of(options)
    words.folded(
        "Another model: your own text, another size, or a run to go on with", mo.vstack([form, look_again])
    )
    return (form,)


@app.cell
def _(form, options):
    wanted = live.checked(lambda: choose(options, form.value))
    controller = live.controller(
        "pretrain", wanted, build_pretrain, is_new=form.value is not None, keeps_start=True
    )
    chosen = controller.options
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
def _(chosen, controller, session):
    live.view(lambda: model_line(controller, chosen), controller, session, every=1.0)
    return


@app.cell
def _():
    mo.md("""
    ## What does it read?

    Three documents of its text. The built-in world is a valley with some dozens of people, made up for this
    project: stories and letters about them, sums, quizzes. Rosa is one of them; Seagate is where she lives.
    """)
    return


@app.cell
def _(controller, session):
    documents = Asked(controller, lambda run, _: example_documents(run, 3, about=("Rosa", "Seagate")))
    live.view(
        lambda texts: mo.Html(documents_html(texts)),
        controller,
        session,
        every=5.0,
        ask=lambda: documents.ask(controller.directory),
    )
    return


@app.cell
def _():
    mo.md("""
    ## Is it learning?

    The **training loss** is the surprise at the tokens of the present step, in *nats* (the unit of the
    natural logarithm): 0 would be certainty. It jumps, for every step has other text; the bold line is its
    mean over the last steps, so it comes a little late. The **validation loss** is measured now and then, on
    text that is never trained on. As long as both fall together, the model learns something that holds for
    new text too. Where only the training loss falls, it learns by heart.
    """)
    return


@app.cell
def _():
    smooth = mo.ui.slider(
        1, 100, label="mean over steps", show_value=True, debounce=True, **live.kept("pretrain.smooth", 10)
    )
    log_x = mo.ui.switch(label="log steps", **live.kept("pretrain.log_x", False))
    log_y = mo.ui.switch(label="log loss", **live.kept("pretrain.log_y", False))
    mo.hstack([smooth, log_x, log_y], justify="start", gap=2, wrap=True)
    return log_x, log_y, smooth


@app.cell
def _(chosen, controller, log_x, log_y, session, smooth, when):
    def draw_loss():
        return curve_views.loss_view(
            controller.history,
            smooth_over=smooth.value,
            y_title="loss, nats per token",
            log_x=log_x.value,
            log_y=log_y.value,
            changes=live.change_marks(controller.history, chosen.batch_size),
            shown_below=when.value if when.value < chosen.steps else None,
        )

    live.view(draw_loss, controller, session, every=1.0)
    return


@app.cell
def _():
    mo.md("""
    **What to look for.** The first steep fall is the model finding out which tokens are frequent. After
    that it learns which follow which, then whole words and phrases. **What to try:** switch both axes to
    log. Behind the flat beginning, where the learning rate still rises, the curve comes down on a slope
    that changes little; from that slope people foretell what a longer training will reach.

    ### Change it while it trains

    The **learning rate** says how far a nudge goes. Multiply it by 10 and press Apply: the loss grows rough
    and may jump (less than with other optimizers: ours, Muon, bears much). Divide it by 10: the curve
    becomes smooth and slow. A larger **batch** (the texts of one step) makes every step dearer and less
    noisy. Changes are marked on the curve and kept with the run.
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

    **Bits per byte** (bpb) is the validation loss counted per byte of text instead of per token, so that
    models with different tokenizers can be compared. The **gradient norm** is how strongly the weights, the
    numbers that the model computes with, are pulled in all; a spike means that a step met something strange.

    The weights fall into **groups**: the *embeddings* stand for tokens, the *matrices* of the layers do the
    work, the *head* makes probabilities of what comes out, a few *scalars* mix what layers say. Each group
    has a **learning rate** of its own, in a fixed proportion to that of the matrices, which is the one in
    the form. All rise, stay and fall to zero by plan. **Update / weights** tells by which share of its
    length a group moves in a step. The dotted lines are what is usual here at the full rate: 1 to 5 %, and
    less than a hundredth of that for the residual scalars, which act on everything. In the first steps it
    may be far more, for some weights begin near zero. Far above its line for long, a group is trained too
    fast.
    """)
    return


@app.cell
def _(controller, session):
    def draw_beginning():
        return curve_views.beginning_note(controller.history, controller.model_config)

    live.view(draw_beginning, controller, session, every=4.0)
    return


@app.cell
def _(controller, log_x, session):
    def draw_health():
        return curve_views.health_view(controller.history, log_x=log_x.value)

    live.view(draw_health, controller, session, every=4.0)
    return


@app.cell
def _():
    mo.md("""
    ## What does it say?

    Now and then the model is asked to go on from the same few words. At step 0 it draws tokens blindly.
    Watch how words come first, then phrases, then sentences that hold together for a while. It never sees
    these prompts in a special way: they are only read, not trained on.
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
    in time, from one saved model (*checkpoint*) to the next; the far right is now. Train to the end, then
    draw the slider slowly from left to right. Your text and the switches stay when the page is loaded
    again.
    """)
    return


@app.cell
def _(chosen):
    prompt = mo.ui.text(
        label="your text",
        full_width=True,
        debounce=100,
        **live.kept("pretrain.text", "Rosa lives in Seagate. Rosa keeps a cat. Rosa"),
    )
    when = mo.ui.slider(
        steps=live.saved_steps(chosen),
        value=chosen.steps,
        label="the model as of step … now",
        full_width=True,
    )
    mo.vstack([prompt, when])
    return prompt, when


@app.cell
def _(chosen, looks, prompt, when):
    at = None if when.value >= chosen.steps else when.value
    question = looks.asking(prompt.value, at)
    return at, question


@app.cell
def _(at, controller, looks, session):
    def draw_when():
        step = controller.progress[0]
        saved = None if at is None else looks.saved_step(at)
        if saved is None:
            return mo.md(f"Shown is the model **now**, at step {step:,}.")
        late = "" if at <= step else f" Step {at:,} is still to come."
        return mo.md(f"Shown is the model as it was saved at step **{saved:,}**.{late}")

    live.view(draw_when, controller, session, every=0.3)
    return


@app.cell
def _():
    mo.md("""
    ### How surprised is it, token by token?

    Each token is coloured by its loss: the stronger, the less the model expected it. Hover over one for the
    numbers. **What to look for:** beginnings of words and names stay hard, for much can come there; the
    rest of a word is easy once its beginning stands. **What to try:** write a sentence of the world that it
    reads, then spoil one word.
    """)
    return


@app.cell
def _(controller, question, session):
    def draw_tokens(look):
        pieces = surprise_pieces(look.tokens, look.loss_T.tolist())
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

    The model's whole answer is this: a probability for every token of the vocabulary. The likeliest are
    shown (`·` is a space, `↵` the end of a line). To write text, one of them is drawn, put behind the text,
    and the model is asked again. A sure model has one long bar; an honest one has many short ones where
    many things can follow.
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
    has a row for each token of your text: bright is where it looks. The upper right is empty, for nobody
    can look ahead. **What to look for:** an untrained head looks here and there by chance, with bright
    patches that mean nothing. Later you find heads that look at the token just before (a bright line beside
    the diagonal), at the first token (a bright left column, which means "nothing to fetch here"), or at
    earlier mentions of the same word. That first token is `<|bos|>`, which stands at the beginning of every
    text.
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
      `just app sft`, and choose **{name}** there. In a terminal,
      `picochat chat --load {name} --complete` lets you write with it.

    The same run as a batch: `python notebooks/pretrain.py -- --help` shows the options, which are those of
    `picochat pretrain`.
    """)

    live.view(draw_end, controller, session, every=5.0)
    return


if __name__ == "__main__":
    app.run()
