"""Int8 weights: the rounding, the layers, the file, and what refuses it."""

import io
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from picochat import cli
from picochat.engine.events import Done
from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.engine.protocol import Finished, Generate, Load, Loaded, Reply, Shutdown, Tokens, encode
from picochat.engine.quantize import quantize, quantize_rows
from picochat.engine.worker import Worker
from picochat.errors import UserError
from picochat.interop.rust_picochat import export_rust
from picochat.model.gpt import GPT
from picochat.model.int8 import Int8Linear, is_int8
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import load_checkpoint, load_trainable, save_checkpoint
from picochat.train.load import load


def test_rows_are_rounded_to_the_nearest_of_their_own_steps():
    weight = torch.tensor([[127.0, -127.0, 63.4, 0.6], [0.0, 0.0, 0.0, 0.0], [1e-20, -1e-20, 0.0, 6e-21]])
    int8, scale = quantize_rows(weight)
    assert int8.tolist() == [[127, -127, 63, 1], [0, 0, 0, 0], [127, -127, 0, 76]]
    torch.testing.assert_close(scale, torch.tensor([1.0, 0.0, 1e-20 / 127]))


def test_error_is_at_most_half_a_step(model: GPT):
    small, errors = quantize(model)
    weights = dict(model.named_parameters())
    assert len(errors) == 2 + 2 * 6 + 1  # wte, lm_head; q, k, v, out and two of the MLP; one value table
    for error in errors:
        weight = weights[error.name]
        step = small.get_submodule(error.name.removesuffix(".weight")).scale
        stored = small.get_submodule(error.name.removesuffix(".weight")).float_weight()
        assert ((stored - weight).abs() <= step[:, None] * 0.5001).all()
        assert error.largest == pytest.approx((stored - weight).abs().max().item())
        assert 0 < error.relative < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_rows", [1, 8, 9])
def test_products_are_those_of_the_stored_weights(dtype: torch.dtype, num_rows: int):
    generator = torch.Generator().manual_seed(0)
    layer = Int8Linear(48, 64)
    int8, scale = quantize_rows(torch.randn(48, 64, generator=generator))
    layer.weight.copy_(int8)
    layer.scale.copy_(scale)
    input = torch.randn(1, num_rows, 64, generator=generator).to(dtype)
    expected = input.double() @ layer.float_weight().double().t()
    tolerance = 1e-5 if dtype == torch.float32 else 0.15
    output = layer.to(dtype)(input)
    assert output.dtype == dtype
    assert layer.weight.dtype == torch.int8
    torch.testing.assert_close(output.double(), expected, atol=tolerance, rtol=0.02)


def test_model_computes_what_its_stored_weights_say(model: GPT):
    small, errors = quantize(model)
    reference = GPT(model.config).requires_grad_(False)
    state = model.state_dict()
    for error in errors:
        state[error.name] = small.get_submodule(error.name.removesuffix(".weight")).float_weight()
    reference.load_state_dict(state)
    ids_BT = torch.arange(40).view(2, 20)
    torch.testing.assert_close(small(ids_BT), reference(ids_BT), atol=1e-4, rtol=0)


def test_checkpoint_is_a_quarter_and_loads_and_generates(tmp_path: Path, model: GPT, tokenizer: Tokenizer):
    save_checkpoint(tmp_path / "full", model=model, tokenizer=tokenizer)
    args = ["quantize", "--load", str(tmp_path / "full"), "--out", str(tmp_path / "int8")]
    cli.main([*args, "--device", "cpu", "--dtype", "float32", "--eval-tokens", "0"])
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "int8")]
    assert sizes[1] < 0.27 * sizes[0]
    tensors = load_file(tmp_path / "int8" / "model.safetensors")
    assert tensors["lm_head.weight"].dtype == torch.int8
    assert tensors["lm_head.scale"].dtype == torch.float32

    small, read = load(tmp_path / "int8")
    assert is_int8(small)
    torch.testing.assert_close(
        small(torch.arange(20)[None]), quantize(model)[0](torch.arange(20)[None]), atol=0, rtol=0
    )
    prompt = [read.special["<|bos|>"], *read.encode("the cat")]
    (completion,) = Engine(small, read).generate_batch([prompt], SamplingOptions(seed=1, max_tokens=8))[0]
    assert completion.num_tokens <= 8


def test_the_workers_process_opens_it(tmp_path: Path, model: GPT, tokenizer: Tokenizer):
    small, _ = quantize(model)
    save_checkpoint(tmp_path / "int8", model=small, tokenizer=tokenizer)
    options = {"seed": 1, "max_tokens": 5}
    requests = [
        Load(id=1, path=str(tmp_path / "int8"), device="cpu", dtype="float32"),
        Generate(id=2, text="the cat", options=options),
        Shutdown(id=3),
    ]
    replies: list[Reply] = []
    worker = Worker(replies.append)
    worker.read(io.BytesIO(b"".join(map(encode, requests))))
    worker.run()
    assert isinstance(replies[0], Loaded)
    assert isinstance(replies[-1], Finished)
    ids = [token.id for reply in replies if isinstance(reply, Tokens) for token in reply.tokens]
    prompt = [tokenizer.special["<|bos|>"], *tokenizer.encode("the cat")]
    *_, done = Engine(small, tokenizer).generate(prompt, SamplingOptions(seed=1, max_tokens=5))
    assert isinstance(done, Done)
    assert ids == done.completion.ids


def test_what_int8_can_not_do_is_refused(tmp_path: Path, model: GPT, tokenizer: Tokenizer):
    small, _ = quantize(model)
    save_checkpoint(tmp_path / "int8", model=small, tokenizer=tokenizer)
    with pytest.raises(UserError, match="can not be trained"):
        load_trainable(tmp_path / "int8")
    with pytest.raises(UserError, match="int8 already"):
        quantize(load_checkpoint(tmp_path / "int8")[0])
    small.config = type(small.config)(**{**vars(small.config), "rope_theta": 100.0})
    with pytest.raises(UserError, match="int8 checkpoint can not be exported"):
        export_rust(small, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["quantize", "--load", "x", "--out", str(tmp_path)])
    assert "exists; give --out a new folder" in capsys.readouterr().err
