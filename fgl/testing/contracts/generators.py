"""What every generator must hold to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fgl.contracts.aggregator import Conditioning
from fgl.contracts.conditioning import unite
from fgl.contracts.generator import (
    Encoder,
    Generator,
    PlanItem,
    Shard,
    SupportsFootprint,
    SupportsWordVectors,
    UploadSchema,
)
from fgl.contracts.prompts import Prompt
from fgl.core.wire import codecs, upload, upload_reader
from fgl.errors import FGLError
from fgl.io import strict_json
from fgl.testing.contracts.denoisers import DenoiserTests, image_size
from fgl.testing.contracts.variations import VariationTests
from fgl.testing.data import CLASS_NAMES
from fgl.testing.randomness import global_state_untouched

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Pixels

_DEVICE = "cpu"


class GeneratorContract(DenoiserTests, VariationTests):
    """A generator's two halves agree on its declaration, and an image depends on its item alone.

    Give `make` a model that is small: every test loads it. Override the fixture `prompts` where texts are not what it
    encodes."""

    @staticmethod
    def make() -> Generator:
        raise NotImplementedError("set `make = staticmethod(lambda: YourGenerator(YourOptions()))` in the test class")

    @pytest.fixture
    def prompts(self) -> list[Prompt]:
        """Five prompts of three classes: with a negative prompt and without, with a guidance scale and without."""
        return [
            Prompt(0, "a river", "blurry", weight=3.0),
            Prompt(1, "an airplane"),
            Prompt(2, "a forest, seen from above", "blurry", domain="photo"),
            Prompt(1, "two airplanes"),
            Prompt(0, "a wide river", guidance_scale=1.0),
        ]

    @pytest.fixture
    def encoder(self) -> Encoder:
        return self.make().encoder(_DEVICE)

    @pytest.fixture
    def conditioning(self, encoder: Encoder, prompts: list[Prompt]) -> Conditioning:
        """What a server generates from: the upload of a client that wrote `prompts`."""
        generator = self.make()
        data = _uploaded(generator.declare(), *encoder.encode(prompts), prompts)
        return unite([data], generator.fingerprint())

    @pytest.fixture
    def shard(self, conditioning: Conditioning) -> Shard:
        """Six images; two of them of one row, from other seeds."""
        rows = [0, 1, 2, 3, 4, 0]
        return Shard(0, tuple(_item(conditioning, row % len(conditioning), 11 + k) for k, row in enumerate(rows)))

    # --- what it says of itself

    def test_its_declaration_is_one_that_uploads_can_be_held_to(self) -> None:
        declared = self.make().declare()
        names = [spec.name for spec in declared.arrays]
        assert names, "no arrays are declared"
        assert len(set(names)) == len(names), f"two arrays of one name: {names}"
        writable = {codec.presented for codec in codecs.built_in().values()}
        for spec in declared.arrays:
            assert all(isinstance(size, int) and size > 0 for size in spec.shape), f"{spec.name}: shape {spec.shape}"
            assert writable & set(spec.dtypes), f"{spec.name}: no upload holds any of the dtypes {spec.dtypes}"
            assert 0 < spec.max_abs < math.inf, f"{spec.name}: max_abs {spec.max_abs}"
        assert declared.encoder, "the declaration does not say whose arrays they are (encoder)"
        assert set(declared.guided) <= set(names), f"guided names arrays that are not declared: {declared.guided}"
        assert math.isfinite(declared.guidance_scale)

    def test_its_fingerprint_is_a_sha256(self) -> None:
        assert re.fullmatch("[0-9a-f]{64}", self.make().fingerprint()), "fingerprint: expected 64 hex digits"

    def test_another_instance_says_the_same(self) -> None:
        one, other = self.make(), self.make()
        assert one.declare() == other.declare()
        assert one.fingerprint() == other.fingerprint()
        for said, again in zip(_statements(one), _statements(other), strict=True):
            assert said == again

    def test_what_it_says_is_json(self) -> None:
        for statement in _statements(self.make()):
            assert isinstance(statement, Mapping)
            strict_json.dumps(strict_json.finite(statement))  # raises where JSON does not have a value

    def test_the_size_of_its_images_is_stated(self) -> None:
        image_size(self.make())

    # --- the client's half

    def test_arrays_are_as_declared(self, encoder: Encoder, prompts: list[Prompt]) -> None:
        arrays, indices = encoder.encode(prompts)
        declared = {spec.name: spec for spec in self.make().declare().arrays}
        assert set(arrays) <= set(declared), f"not declared: {sorted(set(arrays) - set(declared))}"
        lacking = {name for name, spec in declared.items() if not spec.optional} - set(arrays)
        assert not lacking, f"declared, not optional, and missing: {sorted(lacking)}"
        shared = {name for name in arrays if declared[name].shared}
        assert set(indices) == shared, f"indices of {sorted(indices)}, shared arrays {sorted(shared)}"
        for name, array in arrays.items():
            spec = declared[name]
            assert array.dtype == np.float32, f"{name} is {array.dtype}; the codec makes other numbers of float32"
            assert array.shape[1:] == spec.shape, f"{name} is {list(array.shape)}, declared [n, *{list(spec.shape)}]"
            assert np.isfinite(array).all(), f"{name} holds NaN or infinity"
            assert np.abs(array).max(initial=0) <= spec.max_abs, f"{name} exceeds max_abs {spec.max_abs}"
            if name not in shared:
                assert len(array) == len(prompts), f"{len(array)} rows of {name} for {len(prompts)} prompts"
        for name, index in indices.items():
            assert index.shape == (len(prompts),), f"{len(index)} indices of {name} for {len(prompts)} prompts"
            assert np.issubdtype(index.dtype, np.integer)
            assert ((index >= -1) & (index < len(arrays[name]))).all(), f"an index of {name} beyond its rows"

    def test_a_server_accepts_an_upload_of_it(self, encoder: Encoder, prompts: list[Prompt]) -> None:
        declared = self.make().declare()
        accepted = _uploaded(declared, *encoder.encode(prompts), prompts)
        assert len(accepted) == len(prompts)

    def test_rows_follow_the_prompts_and_do_not_depend_on_the_others(
        self, encoder: Encoder, prompts: list[Prompt]
    ) -> None:
        straight = _rows(*encoder.encode(prompts))
        turned = _rows(*encoder.encode(prompts[::-1]))[::-1]
        alone = [_rows(*encoder.encode([prompt]))[0] for prompt in prompts]
        for others in (turned, alone):
            for row, other in zip(straight, others, strict=True):
                assert row.keys() == other.keys()
                for name in row:
                    np.testing.assert_allclose(row[name], other[name], rtol=0, atol=1e-3, err_msg=name)

    def test_equal_prompts_give_equal_rows_to_the_bit(self, encoder: Encoder, prompts: list[Prompt]) -> None:
        """Equal rows of two clients are one conditioning."""
        ours, theirs = _rows(*encoder.encode(prompts)), _rows(*self.make().encoder(_DEVICE).encode(prompts))
        for row, other in zip(ours, theirs, strict=True):
            assert row.keys() == other.keys()
            assert all(row[name].tobytes() == other[name].tobytes() for name in row)

    def test_no_prompts_give_no_rows(self, encoder: Encoder) -> None:
        arrays, indices = encoder.encode([])
        shared = {spec.name for spec in self.make().declare().arrays if spec.shared}
        assert all(len(array) == 0 for name, array in arrays.items() if name not in shared)
        assert all(len(index) == 0 for index in indices.values())

    def test_prompts_that_are_cut_are_counted_one_by_one(self, encoder: Encoder, prompts: list[Prompt]) -> None:
        long = Prompt(0, "a river " * 3000)
        assert encoder.truncated([]) == 0
        single = [encoder.truncated([prompt]) for prompt in (*prompts, long)]
        assert set(single) <= {0, 1}
        assert encoder.truncated([*prompts, long]) == sum(single)

    # --- what it weighs

    def test_the_clients_half_weighs_no_more_than_the_whole(self) -> None:
        """Only generators that tell have a footprint."""
        generator = self.make()
        if not isinstance(generator, SupportsFootprint):
            return
        half, whole = generator.footprint(False), generator.footprint(True)
        assert set(half.parts) <= set(whole.parts)
        for one in (half, whole):
            assert len(set(one.parts)) == len(one.parts)
            assert (one.parameters > 0) == (one.size_bytes > 0) == bool(one.parts), one
        assert half.parameters <= whole.parameters
        assert half.size_bytes <= whole.size_bytes

    # --- words, where the text encoder can be learned through

    def test_words_start_as_they_are_and_gradients_reach_them(self, encoder: Encoder) -> None:
        import torch

        generator = self.make()
        if not isinstance(generator, SupportsWordVectors):
            pytest.skip("no method `word_vectors`")
        texts, words = ["a river", "an old oak", "a river"], ["river", "oak", "a"]
        given = generator.word_vectors(texts, words, _DEVICE)
        vectors = {name: torch.as_tensor(values).clone().requires_grad_() for name, values in given.vectors.items()}
        assert all(len(values) == len(texts) for values in vectors.values())
        encoded = given.encode(vectors, torch.tensor([1, 0]))
        plain, _ = encoder.encode([Prompt(0, texts[row], guidance_scale=1.0) for row in (1, 0)])
        assert set(encoded) == set(plain)
        for name, values in encoded.items():
            np.testing.assert_allclose(values.detach().numpy(), plain[name], rtol=0, atol=1e-3, err_msg=name)
        sum(values.square().sum() for values in encoded.values()).backward()
        for values in vectors.values():
            assert values.grad is not None
            assert bool(values.grad[0].any()), "the word of a text has no gradient"
            assert bool(values.grad[1].any()), "the word of a text has no gradient"
            assert not bool(values.grad[2].any()), "a text that was not encoded has a gradient"
        with pytest.raises(FGLError):
            generator.word_vectors(["a river"], ["sea"], _DEVICE)

    # --- the server's half

    def test_every_item_gets_one_image_of_the_stated_size(self, conditioning: Conditioning, shard: Shard) -> None:
        generator, done = self.make(), list[int]()
        height, width = image_size(generator)
        images = 0
        for batch in generator.synthesizer(_DEVICE).synthesize(shard, conditioning, done.append):
            assert batch.pixels.dtype == np.uint8
            assert batch.pixels.shape[1:] == (height, width, 3), f"images of {list(batch.pixels.shape[1:])}"
            assert all(0 <= position < len(batch.pixels) for position in batch.rejected), batch.rejected
            images += len(batch.pixels)
        assert images == len(shard.items)
        assert sum(done) == len(shard.items), f"progress counted {sum(done)} of {len(shard.items)} images"

    def test_an_image_depends_on_its_item_alone_to_the_last_bit(self, conditioning: Conditioning, shard: Shard) -> None:
        generator = self.make()
        straight = _painted(generator, shard.items, conditioning)
        turned = _painted(generator, shard.items[::-1], conditioning, index=9)[::-1]
        alone = [_painted(generator, (item,), conditioning)[0] for item in shard.items[:2]]
        again = _painted(self.make(), shard.items, conditioning)
        for name, others in (("in another order", turned), ("alone", alone), ("by another instance", again)):
            for image, other in zip(straight, others, strict=False):
                assert image.tobytes() == other.tobytes(), f"an image is another one {name}"

    def test_another_seed_is_another_image(self, conditioning: Conditioning, shard: Shard) -> None:
        item = shard.items[0]
        one, other = _painted(self.make(), (item, replace(item, seed=item.seed + 1)), conditioning)
        assert one.tobytes() != other.tobytes()

    def test_rows_are_not_written_to(self, conditioning: Conditioning, shard: Shard) -> None:
        names = [spec.name for spec in self.make().declare().arrays]
        before = [_copied(conditioning, name) for name in names]
        _painted(self.make(), shard.items, conditioning)
        assert [_copied(conditioning, name) for name in names] == before

    def test_no_shard_items_are_no_images(self, conditioning: Conditioning) -> None:
        assert _painted(self.make(), (), conditioning) == []

    def test_notes_are_json(self, conditioning: Conditioning, shard: Shard) -> None:
        synthesizer = self.make().synthesizer(_DEVICE)
        list(synthesizer.synthesize(shard, conditioning, lambda _: None))
        notes = synthesizer.notes()
        assert isinstance(notes, Mapping)
        strict_json.dumps(strict_json.finite(notes))

    def test_work_leaves_global_random_numbers_alone(self, prompts: list[Prompt], shard: Shard) -> None:
        generator = self.make()
        with global_state_untouched():
            encoded = generator.encoder(_DEVICE).encode(prompts)
            rows = unite([_uploaded(generator.declare(), *encoded, prompts)], generator.fingerprint())
            _painted(generator, shard.items, rows)


def _statements(generator: Generator) -> list[Mapping[str, object]]:
    return [generator.encoding(), generator.rounding(_DEVICE), generator.describe()]


def _uploaded(
    declared: UploadSchema, arrays: Mapping[str, Array], indices: Mapping[str, Array], prompts: Sequence[Prompt]
) -> Any:
    """The upload of a client as a server has it, after every rule of the strict reader."""
    written = {name: codec.presented for name, codec in codecs.built_in().items()}
    codec = next(name for name in ("fp32", *written) if all(written[name] in spec.dtypes for spec in declared.arrays))
    header = upload.UploadHeader("client-0", 0, CLASS_NAMES)
    data = upload.encode(header, declared, codec, prompts, arrays, indices)
    policy = upload_reader.UploadPolicy(declared, ["client-0"], 0, CLASS_NAMES, max_bytes=1 << 30)
    return upload_reader.decode(data, policy)


def _rows(arrays: Mapping[str, Array], indices: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Each row with what it has of each array."""
    count = len(next(iter(array for name, array in arrays.items() if name not in indices), ()))
    count = len(next(iter(indices.values()))) if indices else count
    found: list[dict[str, Array]] = []
    for row in range(count):
        places = {name: int(indices[name][row]) if name in indices else row for name in arrays}
        found.append({name: np.asarray(arrays[name][place]) for name, place in places.items() if place >= 0})
    return found


def _item(conditioning: Conditioning, row: int, seed: int) -> PlanItem:
    scale = float(conditioning.guidance_scale[row])
    return PlanItem(
        image_id=f"{row:032x}{seed:032x}",
        conditioning=row,
        conditioning_id=conditioning.ids[row],
        class_id=int(conditioning.class_id[row]),
        domain=conditioning.domain[row],
        guidance_scale=None if math.isnan(scale) else scale,
        seed=seed,
    )


def _painted(
    generator: Generator, items: Sequence[PlanItem], conditioning: Conditioning, index: int = 0
) -> list[Pixels]:
    batches = generator.synthesizer(_DEVICE).synthesize(Shard(index, tuple(items)), conditioning, lambda _: None)
    return [image.copy() for batch in batches for image in batch.pixels]


def _copied(conditioning: Conditioning, name: str) -> list[bytes]:
    rows = conditioning.gather(name, range(len(conditioning)))
    return [b"" if row is None else np.asarray(row).tobytes() for row in rows]
