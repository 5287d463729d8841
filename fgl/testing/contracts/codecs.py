"""What every codec must hold to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load, save

from fgl.contracts.codec import Codec
from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.contracts.prompt import Prompt
from fgl.core.wire import codecs, container, upload, upload_reader
from fgl.errors import UploadError
from fgl.testing.data import CLASS_NAMES, ENCODER
from fgl.testing.randomness import global_state_untouched

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array

_NAME = "codec-of-the-test"


class CodecContract:
    """A codec writes tensors that follow from an array's shape, and reads them back on a machine that trusts nobody."""

    shapes = ((4, 8), (5,), (3, 2, 2))
    """Shapes of a row that it is tried with."""

    tolerance = 0.1
    """Largest error of a row relative to its L2 norm, for numbers from a normal distribution."""

    @staticmethod
    def make() -> Codec:
        raise NotImplementedError("set `make = staticmethod(YourCodec)` in the test class")

    @pytest.fixture
    def rows(self) -> dict[tuple[int, ...], Array]:
        """Shape of a row → six rows of it; the first is all zeros."""
        draw = np.random.default_rng(0)
        made: dict[tuple[int, ...], Array] = {
            shape: draw.standard_normal((6, *shape)).astype(np.float32) for shape in self.shapes
        }
        for array in made.values():
            array[0] = 0
        return made

    def test_its_tensors_are_those_of_its_layout(self, rows: dict[tuple[int, ...], Array]) -> None:
        for array in rows.values():
            codecs.encoded(self.make(), _NAME, array)  # raises where they are not

    def test_decoded_rows_have_the_shape_and_the_dtype_that_it_presents(
        self, rows: dict[tuple[int, ...], Array]
    ) -> None:
        for array in rows.values():
            codec = self.make()
            decoded = codec.decode(codec.encode(array))
            assert tuple(decoded.shape) == array.shape
            assert len(decoded) == len(array)
            assert np.dtype(decoded.dtype).name == codec.presented
            assert np.asarray(decoded).dtype == np.dtype(codec.presented)

    def test_rows_come_back_within_the_tolerance(self, rows: dict[tuple[int, ...], Array]) -> None:
        for array in rows.values():
            codec = self.make()
            decoded = np.asarray(codec.decode(codec.encode(array))).astype(np.float64)
            error = np.linalg.norm((decoded - array).reshape(len(array), -1), axis=1)
            norm = np.linalg.norm(array.reshape(len(array), -1), axis=1)
            assert (error <= self.tolerance * norm).all(), f"off by {(error[1:] / norm[1:]).max():.3g} of a row's norm"

    def test_a_row_can_be_asked_for_by_number_slice_and_list(self, rows: dict[tuple[int, ...], Array]) -> None:
        for array in rows.values():
            codec = self.make()
            decoded = codec.decode(codec.encode(array))
            whole = np.asarray(decoded)
            np.testing.assert_array_equal(np.asarray(decoded[3]), whole[3])
            np.testing.assert_array_equal(np.asarray(decoded[2:5]), whole[2:5])
            np.testing.assert_array_equal(np.asarray(decoded[[5, 0]]), whole[[5, 0]])

    def test_a_row_does_not_depend_on_what_is_encoded_beside_it(self, rows: dict[tuple[int, ...], Array]) -> None:
        """Equal rows of two clients are one conditioning, and are made once."""
        for array in rows.values():
            codec = self.make()
            whole = np.asarray(codec.decode(codec.encode(array)))
            for row in (0, 3):
                alone = np.asarray(codec.decode(codec.encode(array[row : row + 1])))[0]
                np.testing.assert_array_equal(alone, whole[row])

    def test_no_rows_are_no_rows(self) -> None:
        for shape in self.shapes:
            codec = self.make()
            decoded = codec.decode(codecs.encoded(codec, _NAME, np.zeros((0, *shape), np.float32)))
            assert tuple(decoded.shape) == (0, *shape)

    def test_the_array_is_not_written_to(self, rows: dict[tuple[int, ...], Array]) -> None:
        for array in rows.values():
            array.setflags(write=False)
            self.make().encode(array)

    def test_work_leaves_global_random_numbers_alone(self, rows: dict[tuple[int, ...], Array]) -> None:
        with global_state_untouched():
            for array in rows.values():
                self.make().decode(self.make().encode(array))

    def test_a_server_accepts_what_it_writes(self, rows: dict[tuple[int, ...], Array]) -> None:
        for array in rows.values():
            accepted = upload_reader.decode(*self._sent(array))
            np.testing.assert_array_equal(np.asarray(accepted.arrays["row"]), self._back(array))

    def test_the_size_that_it_would_have_follows_from_shapes(self, rows: dict[tuple[int, ...], Array]) -> None:
        for array in rows.values():
            data, _ = self._sent(array)
            exact = upload_reader.decode(*self._sent(array, "fp32"))  # by an instance that has encoded nothing
            assert exact.bytes_by_codec[_NAME] == len(data)

    def test_whatever_bytes_a_client_puts_in_its_place_a_server_refuses_them_or_gets_numbers_within_the_bound(
        self, rows: dict[tuple[int, ...], Array]
    ) -> None:
        draw = np.random.default_rng(1)
        for array in rows.values():
            for _ in range(40):
                data, policy = self._sent(array, lie=draw)
                try:
                    accepted = upload_reader.decode(data, policy)
                except UploadError:
                    continue
                decoded = np.asarray(accepted.arrays["row"]).astype(np.float64)
                assert decoded.shape == array.shape
                assert np.isfinite(decoded).all()
                assert np.abs(decoded).max() <= policy.declaration.arrays[0].max_abs

    # --- what a client sends

    def _sent(
        self, array: Array, name: str = _NAME, lie: np.random.Generator | None = None
    ) -> tuple[bytes, upload_reader.UploadPolicy]:
        codec = self.make()
        known = {**codecs.built_in(), _NAME: codec}
        spec = ArraySpec("row", array.shape[1:], (codec.presented, "float32"), max_abs=100.0)
        declared = UploadSchema((spec,), ENCODER)
        policy = upload_reader.UploadPolicy(declared, ["client-0"], 0, CLASS_NAMES, 1 << 30, codecs=known)
        prompts = [Prompt(0, "river") for _ in array]
        header = upload.UploadHeader("client-0", 0, CLASS_NAMES)
        data = upload.encode(header, declared, name, prompts, {"row": array}, {}, known)
        return (data if lie is None else _lied(data, lie)), policy

    def _back(self, array: Array) -> Array:
        codec = self.make()
        return np.asarray(codec.decode(codec.encode(array)))


def _lied(data: bytes, draw: np.random.Generator) -> bytes:
    """The same upload with other numbers in one of the codec's tensors, and a checksum that fits."""
    tensors = {name: array.copy() for name, array in load(data).items()}
    of_codec = sorted(name for name in tensors if name.split(".")[0] == "row" and tensors[name].size)
    chosen = tensors[of_codec[int(draw.integers(len(of_codec)))]]
    flat = chosen.reshape(-1).view(np.uint8)
    places = draw.integers(0, len(flat), max(1, len(flat) // int(draw.integers(1, 8))))
    flat[places] = draw.integers(0, 256, len(places), dtype=np.uint8)
    stated = container.parse(container.layout(data)[0][upload.METADATA].encode())
    stated["checksum"] = upload.checksum(stated, tensors)
    return save(tensors, {upload.METADATA: json.dumps(stated, sort_keys=True)})
