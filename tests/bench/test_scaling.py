"""The figures of how a training step scales."""

import pytest

from tests.bench.scaling import KERNELS, SERIES, TOKENS, Point, figures, page

SIZES = {size for sizes in SERIES.values() for size in sizes}


@pytest.fixture
def points() -> list[Point]:
    return [
        Point(
            kernels=kernels,
            size=size,
            flops_per_token=size.flops_per_token(),
            tokens_per_second=1e12 / size.flops_per_token(),
            memory=size.vocab_size * 1000,
        )
        for size in SIZES
        for kernels in KERNELS
    ]


def test_every_step_has_as_many_tokens():
    for size in SIZES:
        _, _, _, rows, length, _ = size.case("auto").split(":")
        assert int(rows) * int(length) == TOKENS


def test_every_size_is_a_point_of_both_figures(points: list[Point]):
    speed, memory = (figure.to_dict()["data"] for figure in figures(points))
    lines = [(sizes, kernels) for sizes in SERIES.values() for kernels in KERNELS]
    for (sizes, kernels), fast, large in zip(lines, speed, memory, strict=True):
        row = [point for point in points if point.kernels == kernels and point.size in sizes]
        row.sort(key=lambda point: point.flops_per_token)
        assert list(fast["x"]) == list(large["x"]) == [point.flops_per_token for point in row]
        assert list(fast["y"]) == [point.tokens_per_second for point in row]
        assert list(large["y"]) == [point.memory / 1e6 for point in row]


def test_a_page_needs_nothing_from_elsewhere(points: list[Point]):
    text = page(points, "a <machine>")
    assert "a &lt;machine&gt;" in text
    assert "<script src=" not in text
