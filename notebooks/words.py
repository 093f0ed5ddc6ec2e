"""Words of the field, said in half a sentence each: one glossary for all pages."""

import marimo as mo

WORDS = {
    "token": "a piece of text, often a word or a part of one; the model reads and writes tokens, by number",
    "tokenizer": "cuts text into tokens and gives each its number",
    "vocabulary": "all tokens that there are",
    "weight": "one of the numbers that the model computes with; training changes them, and nothing else",
    "loss": "how surprised the model is at the token that really comes: -ln of the probability it gave it",
    "nat": "the unit of that surprise, as the natural logarithm gives it; 1 nat is 1.44 bits",
    "bits per byte (bpb)": "the loss in bits, counted per byte of text, so that tokenizers do not matter",
    "step": "one small change of all weights, made after reading one batch",
    "batch": "the stretches of text that one step reads",
    "context": "how many tokens the model can see at once",
    "learning rate": "how far a step goes",
    "gradient": "for each weight, in which direction and how strongly the loss changes with it",
    "layer": "one round of looking and thinking; the model has a few, one behind the other",
    "head": "in attention, one of several things that look back at earlier tokens, each in its own way; "
    "the *output head* is another thing: it turns what the last layer holds into probabilities",
    "embedding": "the list of numbers that stands for a token inside the model",
    "group of weights": "weights that are trained alike, with a learning rate of their own: the "
    "embeddings, the output head, the matrices of the layers, and a few single numbers (scalars) "
    "that mix what layers say",
    "matrices": "the weights of the layers, in tables: nearly all of what a layer has learned stands there",
    "seed": "a number that fixes all chance: the same seed gives the same run",
    "checkpoint": "the model as it was saved after some step",
    "validation": "measuring on text that is never trained on",
    "special token": "a token that text can not spell and that marks a place, in frames here: `<|bos|>` "
    "stands at the beginning of every text, others where a turn of a conversation begins or ends",
    "masked": "read, but not counted in the loss, so that it is not learned to be said",
}


def glossary(*names: str) -> mo.Html:
    """Return the words folded away: those named, else all."""
    shown = names or tuple(WORDS)
    return folded("Words of this page", mo.md("\n".join(f"- **{name}**: {WORDS[name]}." for name in shown)))


def folded(title: str, content: mo.Html) -> mo.Html:
    """Return content that is shown when its title is pressed, in the colour of all text.

    An accordion is pale; what is typed into a pale form looks as if it were only an example.
    """
    return mo.accordion({title: mo.style(content, {"color": "var(--foreground)"})})
