"""torch.compile in training: what goes through it equals the plain model, and it is refused in words."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from picochat.data.batch import IGNORE
from picochat.errors import UserError
from picochat.kernels import compilation
from picochat.kernels.block import training_hidden
from picochat.kernels.compilation import compiles, obstacle, require_compile
from picochat.kernels.head_loss import head_loss, head_loss_plain
from picochat.model.gpt import GPT
from picochat.train import stage
from picochat.train.device import prepare_training
from picochat.train.stage import compile_notes
from tests.kernels.test_block import assert_near, make_model, random_ids, run

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
"""torch.compile looks at it, and leaves out the warning itself where warnings are no errors."""

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def traced(monkeypatch) -> Iterator[None]:
    """Everything of torch.compile but the making of code, which takes most of the time."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def num_graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def assert_blocks_equal_the_model(dtype: torch.dtype, tolerance: float) -> None:
    ids_BT = random_ids(3, 40)
    model, twin = make_model(dtype=dtype), make_model(dtype=dtype)
    model.kernels, twin.kernels = "compile", "plain"
    assert_near(run(training_hidden, model, ids_BT), run(training_hidden, twin, ids_BT), tolerance)


def assert_loss_equals_its_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(37, 16, generator=generator).requires_grad_()
    weight_PD = torch.randn(128, 16, generator=generator).requires_grad_()
    targets_N = torch.randint(100, (37,), generator=generator)
    targets_N[::5] = IGNORE
    results = [
        (loss := function(x_ND, weight_PD, targets_N, 100), *torch.autograd.grad(loss, (x_ND, weight_PD)))
        for function in (lambda *inputs: head_loss(*inputs, kernels="compile"), head_loss_plain)
    ]
    for mine, plain in zip(*results, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-5, atol=2e-5)


def test_blocks_and_loss_equal_the_plain_ones_in_one_graph_each(traced):
    """Windows and value embeddings too; the blocks share two graphs, one of them without value embedding."""
    before = num_graphs()
    assert_blocks_equal_the_model(torch.float32, 1e-5)
    assert num_graphs() == before + 2
    assert_loss_equals_its_twin()
    assert num_graphs() == before + 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # torch's own modules use what it calls deprecated
def test_the_code_that_is_made_equals_the_plain_one():
    if problem := obstacle("cpu"):
        pytest.skip(f"torch.compile does not work here: {problem}")
    torch.compiler.reset()
    assert_blocks_equal_the_model(torch.float32, 1e-5)
    assert_blocks_equal_the_model(torch.bfloat16, 5e-2)
    assert_loss_equals_its_twin()


@pytest.mark.parametrize("problem", [None, "no compiler"])
def test_where_it_is_in_force(problem: str | None, monkeypatch):
    monkeypatch.setattr(compilation, "obstacle", lambda device_type: problem)
    assert compiles("auto", CUDA) is (problem is None)
    assert not compiles("auto", CPU)
    assert compiles("compile", CPU)
    assert not any(compiles(kernels, CUDA) for kernels in ("portable", "plain"))


def test_a_run_says_what_it_does(monkeypatch):
    def notes(kernels: str, device: torch.device) -> str:
        return " ".join(compile_notes(cast("GPT", SimpleNamespace(kernels=kernels, device=device))))

    monkeypatch.setattr(compilation, "obstacle", lambda device_type: None)
    assert notes("auto", CPU) == ""
    assert "the first step compiles" in notes("compile", CPU)
    assert "the first step compiles" in notes("auto", CUDA)
    for module in (compilation, stage):
        monkeypatch.setattr(module, "obstacle", lambda device_type: "no Triton")
    assert notes("auto", CUDA) == "torch.compile does not work here, so training is slower: no Triton"
    assert notes("portable", CUDA) == ""


def test_without_a_compiler_it_is_refused_in_words(monkeypatch):
    def fail(function, **options):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler\nfound\n\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    obstacle.cache_clear()
    try:
        with pytest.raises(UserError, match=r"compile: .*\(InvalidCxx.* found\); install a C\+\+ compiler"):
            prepare_training(CPU, "compile")
        prepare_training(CPU, "auto")
    finally:
        obstacle.cache_clear()


def test_it_is_for_two_kinds_of_device():
    with pytest.raises(UserError, match="not for mps"):
        require_compile("compile", torch.device("mps"))
