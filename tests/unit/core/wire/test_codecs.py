"""Codecs of plugins at the boundary: written, read, and refused like those of fgl."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load

import fgl
from fgl.core.client import site
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.wire import codecs
from fgl.errors import BrokenPluginError, ConfigError, UploadValueError
from fgl.testing.contracts import CodecContract
from tests.helpers.installed import install
from tests.helpers.settings import small, write_noise

PLUGIN = '''
import numpy as np
from fgl import Component, hookimpl


class Int4:
    """Two numbers a byte, with a scale for each row: the tensor has another shape than the array."""

    presented = "float32"

    def layout(self, shape):
        count = int(np.prod(shape[1:]))
        return {"": ("uint8", (shape[0], -(-count // 2))), ".scale": ("float32", (shape[0],))}

    def encode(self, array):
        rows = array.reshape(len(array), int(np.prod(array.shape[1:])))
        self.shape = array.shape[1:]
        scale = (np.abs(rows).max(axis=1, initial=0) / 7).astype(np.float32)
        steps = np.clip(np.rint(rows / np.where(scale > 0, scale, 1)[:, None]), -7, 7).astype(int) + 7
        steps = np.pad(steps, ((0, 0), (0, rows.shape[1] % 2)))
        return {"": (steps[:, ::2] * 16 + steps[:, 1::2]).astype(np.uint8), ".scale": scale}

    def decode(self, tensors):
        packed, scale = np.asarray(tensors[""]), np.asarray(tensors[".scale"])
        steps = np.stack([packed // 16, packed % 16], axis=2).reshape(len(packed), 2 * packed.shape[1])
        rows = (steps.astype(np.float32) - 7) * scale[:, None]
        shape = self.rows(packed.shape[1])
        return rows[:, : int(np.prod(shape))].reshape(len(packed), *shape)

    def rows(self, packed):
        return {row: shape for row, shape in SHAPES}[packed]


SHAPES = [(16, (4, 8)), (3, (5,)), (6, (3, 2, 2)), SHAPE]


@hookimpl
def fgl_codecs():
    return [Component("int4", Int4)]
'''
LYING = """
from fgl import Component, hookimpl
from fgl.plugins.codecs.floats import Exact


class Lying(Exact):
    def encode(self, array):
        return {"": array[:-1]}


class Wide(Exact):
    presented = "float64"


@hookimpl
def fgl_codecs():
    return [Component("lying", Lying), Component("wide", Wide)]
"""


@pytest.fixture
def int4(tmp_path, monkeypatch, pipeline):
    """Codecs know the shapes of rows of the pipeline's encoder, 16 tokens of it."""
    width = json.loads((pipeline / "text_encoder" / "config.json").read_text())["hidden_size"]
    length = json.loads((pipeline / "text_encoder" / "config.json").read_text())["max_position_embeddings"]
    shape = f"({length * width // 2}, ({length}, {width}))"
    install(monkeypatch, tmp_path / "plugin", "fgl_int4", PLUGIN.replace("SHAPE]", f"{shape}]"), "int4")
    site.release()
    yield PluginManager.load().registry
    site.release()


def test_a_codec_of_a_plugin_keeps_the_contract(int4):
    class TestInt4(CodecContract):
        make = staticmethod(lambda: int4.create("codec", "int4", {}))
        tolerance = 0.2

    rows = {shape: np.random.default_rng(0).standard_normal((6, *shape), np.float32) for shape in TestInt4.shapes}
    for name in (name for name in dir(TestInt4) if name.startswith("test_")):
        TestInt4().__getattribute__(name)(*([] if "no_rows" in name else [rows]))


def test_a_run_sends_and_reads_what_a_codec_of_a_plugin_writes(int4, tmp_path, pipeline):
    (tmp_path / "images").mkdir()
    data = write_noise(tmp_path / "images", per_class=6)
    report = fgl.run(small(data, pipeline, upload={"codec": "int4"}), out=tmp_path / "run", progress=False)
    assert report["upload"]["codec"] == "int4"
    sizes = {name: one["total"] for name, one in report["upload"]["bytes_by_codec"].items()}
    assert list(sizes) == ["fp16", "fp32", "int8", "int4", "text"]
    assert sizes["int4"] == report["upload"]["bytes_total"]
    (upload, _) = sorted((tmp_path / "run" / "server" / "uploads").glob("*.safetensors"))
    tensors = load(upload.read_bytes())
    length, width = tensors["prompt_embeds.rows"].shape[1:]
    assert tensors["prompt_embeds"].shape == (3, length * width // 2)
    assert 0 < report["upload"]["codec_error"]["int4"]["prompt_embeds"]["relative_rms"] < 0.2
    again = fgl.resume(tmp_path / "run", progress=False)
    assert again["synthetic"]["digest"] == report["synthetic"]["digest"]


def test_an_upload_in_a_codec_that_was_not_chosen_is_refused(int4, tmp_path, pipeline):
    """The server accepts the built-in codecs and the one that its own configuration names."""
    assert list(codecs.table(int4)) == ["fp16", "fp32", "int8"]
    assert list(codecs.table(int4, "int4")) == ["fp16", "fp32", "int8", "int4"]
    assert list(codecs.table(int4, "text")) == ["fp16", "fp32", "int8"]


def test_the_name_of_a_codec_is_one_that_is_installed(int4):
    assert resolve([{"upload": {"codec": "int4"}}], int4).upload.codec == "int4"
    with pytest.raises(ConfigError) as caught:
        resolve([{"upload": {"codec": "int4x"}}], int4)
    said = "upload.codec: got 'int4x'; expected 'fp16', 'fp32', 'int4', 'int8' or 'text': did you mean 'int4'?"
    assert said in str(caught.value)


def test_a_codec_that_does_not_keep_to_its_layout_is_named(tmp_path, monkeypatch):
    install(monkeypatch, tmp_path / "plugin", "fgl_lying", LYING, "lying")
    registry = PluginManager.load().registry
    lying = codecs.table(registry, "lying")["lying"]
    with pytest.raises(BrokenPluginError, match=r"'lying' wrote the array float32 \[1, 3\]; its layout has .*\[2, 3\]"):
        codecs.encoded(lying, "lying", np.zeros((2, 3), np.float32))
    with pytest.raises(BrokenPluginError, match="codec 'wide' presents rows as 'float64'"):
        codecs.table(registry, "wide")


@pytest.mark.parametrize(
    ("laid_out", "said"),
    [
        ({"": ("float32", (4, 3)), ".index": ("int32", (4,))}, "lays out '.index'"),
        ({"": ("float32", (4, 3)), "../x": ("int32", (4,))}, "lays out '../x'"),
        ({"": ("complex64", (4, 3))}, "of 'complex64'"),
        ({".values": ("float32", (4, 3))}, "no tensor '' whose first axis is the rows"),
        ({"": ("float32", (12,))}, "no tensor '' whose first axis is the rows"),
    ],
)
def test_a_layout_that_no_file_can_have_is_named(laid_out, said):
    class Odd:
        presented = "float32"

        def layout(self, shape):
            return laid_out

    with pytest.raises(BrokenPluginError, match="codec 'odd'") as caught:
        codecs.layout(Odd(), "odd", (4, 3))  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize("decode", [lambda tensors: 1 / 0, lambda tensors: tensors[""][:-1], lambda tensors: None])
def test_whatever_a_codec_makes_of_a_clients_numbers_no_server_ends_by_it(decode):
    class Fragile:
        presented = "float32"

        def decode(self, tensors):
            return decode(tensors)

    with pytest.raises(UploadValueError, match="refused: row "):
        codecs.check(Fragile(), "row", {"": np.zeros((4, 3), np.float32)}, (4, 3), 10.0)  # type: ignore[arg-type]
