"""What is offered of runs that are watched, and a picture per stage."""

import doctest

from picochat.plots import watched
from picochat.plots.curves import Curve


def test_the_usual_quantities_come_first_and_by_name():
    assert doctest.testmod(watched).failed == 0
    found = ["lr head", "held-out bpb", "loss", "lr matrices"]
    assert list(watched.choices(found)) == ["loss", "held-out bits per byte"]
    assert list(watched.choices(found, more=True).values()) == [
        "loss",
        "held-out bpb",
        "lr head",
        "lr matrices",
    ]
    assert watched.choices([]) == {"loss": "loss"}, "before the first step"


def test_each_stage_has_a_picture_of_its_own():
    def curve(name: str, place: int) -> Curve:
        return Curve(name=name, steps=[1, 2], values=[3.0, 2.0], series=place)

    def draw(curves: dict[str, list[Curve]]):
        return watched.stage_figures(curves, "held-out val_loss", smooth_over=1, log_x=False, log_y=False)

    first, second = draw({"sft": [curve("talk", 0)], "pretrain": [curve("a", 1), curve("b", 2)], "grpo": []})
    assert (first.layout.title.text, second.layout.title.text) == ("pretraining", "fine-tuning")
    assert [[line.name for line in figure.data] for figure in (first, second)] == [["a", "b"], ["talk"]]
    assert first.layout.template.layout.yaxis.title.text == "held-out loss"
    (alone,) = draw({"mine": [curve("own", 0)]})
    assert alone.layout.title.text is None
    assert draw({}) == []
