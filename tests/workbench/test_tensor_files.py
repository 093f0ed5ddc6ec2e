"""Headers of safetensors files, what is measured in them, and how numbers become pictures."""

import asyncio
import json
import math
import struct
import time

import numpy as np
import pytest

from picochat.errors import UserError
from tests.workbench.make_runs import weights, write_tensors
from workbench.canvas import Canvas, Line, find_range, histogram_rows, short
from workbench.tensor_client import TensorClient
from workbench.tensor_files import TensorFile, layer_of
from workbench.tensor_views import heat_map, stats_text
from workbench.tensor_worker import compare, float8, stats, survey


def test_a_header_tells_everything(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, weights(0), {"made": "by a test"})
    file = TensorFile.read(path)
    assert [tensor.name for tensor in file.tensors] == [
        "h.0.attn.c_q.weight", "h.0.mlp.c_fc.weight", "h.1.attn.c_q.weight", "h.10.attn.c_q.weight",
        "lm_head.weight", "x0_lambdas",
    ]  # fmt: skip
    assert (file.find("x0_lambdas").shape, file.find("x0_lambdas").dtype) == ((2,), "F32")
    assert file.metadata == {"made": "by a test"}
    assert file.num_bytes == path.stat().st_size


def test_the_header_of_a_hundred_gigabytes_is_there_at_once(tmp_path):
    path = tmp_path / "a.safetensors"
    size = 100 * 2**30
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)  # a hole: takes no room on the disk
    began = time.process_time()
    assert TensorFile.read(path).num_values == size // 4
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05",
        struct.pack("<Q", 2**60),
        struct.pack("<Q", 50) + b"{}",
        struct.pack("<Q", 2) + b"{]",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 7) + b'{"a":1}',
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}     ',
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.safetensors"):
        TensorFile.read(path)


def test_values_that_are_missing_are_told(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, weights(0))
    path.write_bytes(path.read_bytes()[:-100])
    file = TensorFile.read(path)
    assert [bool(tensor.problem) for tensor in file.tensors] == [False] * 4 + [True, True]
    rows = {row["name"]: row for row in survey(str(path))}
    assert "behind the end" in rows["lm_head.weight"]["error"]
    assert "rms" in rows["h.0.attn.c_q.weight"]


def test_statistics_are_numpys(tmp_path):
    path = tmp_path / "a.safetensors"
    array = np.random.default_rng(0).standard_normal((300, 70)).astype(np.float32)
    array[0, :5] = 0
    holes = array.copy()
    holes[1, :3] = [np.nan, np.inf, -np.inf]
    write_tensors(path, {"a": array, "b": holes, "half": array.astype(np.float16), "none": array[:0]})
    found = stats(str(path), "a")
    assert found["mean"] == pytest.approx(array.mean(dtype=np.float64))
    assert found["std"] == pytest.approx(array.std(dtype=np.float64))
    assert found["norm"] == pytest.approx(np.linalg.norm(array.astype(np.float64)))
    assert (found["min"], found["max"], found["zeros"]) == (array.min(), array.max(), 5)
    step = float(array.max() - array.min()) / 2000
    for q, value in found["quantiles"].items():
        assert value == pytest.approx(np.quantile(array, float(q)), abs=step)
    assert sum(found["histogram"]) == array.size
    holed = stats(str(path), "b")
    assert (holed["nans"], holed["infinities"], holed["count"]) == (1, 2, array.size - 3)
    assert stats(str(path), "half")["rms"] == pytest.approx(found["rms"], rel=1e-3)
    assert stats(str(path), "none")["count"] == 0
    with pytest.raises(UserError, match="no tensor x"):
        stats(str(path), "x")


def test_small_number_formats_are_decoded(tmp_path):
    path = tmp_path / "a.safetensors"
    values = np.array([1.5, -2.0, 0.0, 384.0], dtype=np.float32)
    bfloat = (values.view(np.uint32) >> 16).astype(np.uint16)
    # E4M3: 1.5, -2, 0, 384 and the largest, 448.
    eights = np.array([0x3C, 0xC0, 0x00, 0x7C, 0x7E], dtype=np.uint8)
    write_tensors(path, {"b": bfloat, "e": eights})
    assert stats(str(path), "b")["norm"] == pytest.approx(np.linalg.norm(values))
    assert stats(str(path), "e")["max"] == 448.0
    assert float8(5)[[0x3C, 0x7B, 0x7C, 0xC0, 0x01]].tolist() == [1.0, 57344.0, math.inf, -2.0, 2.0**-16]
    assert np.isnan(float8(4)[0x7F])
    assert np.isnan(float8(5)[0x7E])


def test_differences_are_relative_norms(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    before = weights(0)
    after = {name: array * np.float32(1.1) for name, array in before.items()}
    after["x0_lambdas"] = np.zeros((3,), dtype=np.float32)
    after["new"] = after.pop("lm_head.weight")
    write_tensors(first, before)
    write_tensors(second, after)
    rows = {row["name"]: row for row in compare(str(first), str(second))}
    assert rows["h.1.attn.c_q.weight"]["relative"] == pytest.approx(0.1, rel=1e-5)
    assert rows["h.1.attn.c_q.weight"]["cosine"] == pytest.approx(1.0)
    assert rows["x0_lambdas"]["error"] == "shape [2] and [3]"
    assert rows["lm_head.weight"]["error"] == "only in the first"
    assert rows["new"]["error"] == "only in the second"


def test_int8_weights_are_compared_by_what_they_stand_for(tmp_path):
    full, small = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    array = np.random.default_rng(1).standard_normal((6, 50)).astype(np.float32)
    scale = (np.abs(array).max(axis=1) / 127).astype(np.float32)
    write_tensors(full, {"w.weight": array})
    rounded = np.round(array / scale[:, None]).astype(np.int8)
    write_tensors(small, {"w.weight": rounded, "w.scale": scale})
    row = next(compare(str(full), str(small)))
    assert 0 < row["relative"] < 0.01


def test_the_process_answers_and_a_new_question_ends_the_old_one(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, weights(0))

    async def use():
        client = TensorClient()
        async for reply in client.ask(op="survey", path=str(path)):
            assert reply["name"] == "h.0.attn.c_q.weight"
            break
        replies = [reply async for reply in client.ask(op="stats", path=str(path), name="x0_lambdas")]
        assert [reply["count"] for reply in replies] == [2]
        [reply] = [reply async for reply in client.ask(op="stats", path=str(path) + "x", name="a")]
        assert "error" in reply
        [reply] = [reply async for reply in client.ask(op="dance")]
        assert reply["error"] == "no such request"
        await client.close()

    asyncio.run(use())


def test_a_crash_shows_its_last_lines_and_the_next_question_starts_anew(tmp_path):
    write_tensors(tmp_path / "a.safetensors", weights(1))

    async def talk() -> None:
        client = TensorClient()
        # A path that is a number is a bug of who asks: the process ends with a traceback.
        [reply] = [reply async for reply in client.ask(op="stats", path=3, name="x")]
        assert reply["error"].startswith("the process that measures tensors has crashed (1)\n")
        assert reply["error"].splitlines()[-1].startswith("TypeError: ")
        path = str(tmp_path / "a.safetensors")
        [reply] = [reply async for reply in client.ask(op="stats", path=path, name="lm_head.weight")]
        assert reply["count"] == 160
        await client.close()

    asyncio.run(talk())


def test_layers_are_found_in_names():
    assert layer_of("h.3.attn.c_q.weight") == ("h.*.attn.c_q", 3)
    assert layer_of("ve.1.weight") == ("ve.*", 1)
    assert layer_of("lm_head.weight") == ("lm_head", None)


def test_a_map_has_a_cell_for_each_layer():
    measured = {f"h.{i}.c_q.weight": {"relative": 0.1 * (i + 1)} for i in range(4)}
    measured["lm_head.weight"] = {"relative": 0.9}
    measured["odd"] = {"error": "x"}
    lines = heat_map(measured, "relative", width=60).plain.splitlines()
    row = next(line for line in lines if "c_q" in line)
    assert row.split() == ["h.*.c_q", "10.0%", "20.0%", "30.0%", "40.0%"]
    many = {f"h.{i}.c_q.weight": {"relative": 0.01 * (i + 1)} for i in range(100)}
    lines = heat_map(many, "relative", width=60).plain.splitlines()
    assert max(map(len, lines)) <= 60
    assert any("more layers" in line for line in lines)


def test_statistics_fit_any_width(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, weights(0))
    tensor = TensorFile.read(path).find("lm_head.weight")
    found = stats(str(path), "lm_head.weight")
    for width in (20, 40, 90):
        text = stats_text(tensor, found, width=width, height=6, is_log=False).plain
        assert max(map(len, text.splitlines()[3:9])) <= width


# Pictures


def line(values, steps=None, **options) -> Line:
    return Line(name="a", steps=steps or range(len(values)), values=values, colour="#fff", **options)


def picture(lines, width=10, height=4, **options) -> list[str]:
    area = find_range(lines, is_log=options.pop("is_log", False))
    canvas = Canvas(width, height)
    for one in lines:
        canvas.draw(one, area, **options)
    return ["".join(canvas.cell(x, y)[0] for x in range(width)) for y in range(height)]


def test_a_rising_line_rises():
    rows = picture([line([0.0, 1.0])], 4, 2)
    assert rows[0][0] == rows[1][3] == " "
    assert rows[0][3] != " " != rows[1][0]
    assert all(upper != " " or lower != " " for upper, lower in zip(*rows, strict=True))


def test_spikes_of_many_values_are_kept():
    values = [0.0] * 20_000
    values[7777] = 1.0
    rows = picture([line(values)], 40, 5)
    assert rows[0].strip() != ""
    began = time.process_time()
    picture([line(values)], 40, 5)
    assert time.process_time() - began < 0.5


def test_a_log_axis_leaves_out_what_is_not_positive():
    lines = [line([0.0, 0.001, 1.0, 1000.0, -5.0])]
    area = find_range(lines, is_log=True)
    assert (area.low, area.high) == (0.001, 1000.0)
    assert area.y(1.0) == pytest.approx(0.5)
    assert area.y(0.0) is None
    assert area.value(0.5) == pytest.approx(1.0)
    assert find_range([line([-1.0, 0.0])], is_log=True) is None


def test_faint_lines_do_not_flatten_the_others():
    area = find_range([line([1000.0, 1.0], is_faint=True), line([2.0, 1.0])], is_log=False)
    assert area.high == 2.0
    assert find_range([line([5.0, 5.0])], is_log=False).low < 5.0
    assert find_range([], is_log=False) is None


def test_dashes_leave_gaps():
    full = picture([line([1.0] * 40)], 20, 1)[0]
    dashed = picture([line([1.0] * 40)], 20, 1, dash=2)[0]
    assert full.count(" ") == 0
    assert dashed.count(" ") > 5


def test_histograms_keep_rare_values_visible():
    rows = histogram_rows([1000, 0, 1, 500], 4, 3)
    assert [row[0] for row in rows] == ["█", "█", "█"]
    assert [row[1] for row in rows] == [" ", " ", " "]
    assert rows[2][2] == "▁"
    assert histogram_rows([1000, 0, 1, 500], 4, 3, is_log=True)[2][2] != "▁"


def test_numbers_are_short():
    numbers = (0.7336, 12345.6, 3.2e-7, 1800.0, 0.0, 2_500_000.0, 4e12)
    assert [short(x) for x in numbers] == ["0.734", "12.3k", "3.2e-07", "1800", "0", "2.5M", "4.00e+12"]
