"""What every plugin of a family must hold to, as tests to inherit. Built-ins run the same ones.

    from fgl.testing.contracts import PromptStrategyContract

    class TestMine(PromptStrategyContract):
        make = staticmethod(lambda: Mine(MineOptions()))

Each test builds its plugin with `make()`. Override a fixture to test on data of your own.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from fgl.contracts.aggregator import Aggregator, ClientUpload, Conditioning
from fgl.contracts.classifier import FitContext
from fgl.contracts.dataset import ImageSet, LabelledPixels, Subset
from fgl.contracts.features import FeatureSpace
from fgl.contracts.progress import NullProgress
from fgl.contracts.prompts import ClientContext, Prompt, PromptStrategy, spells
from fgl.core.wire.codecs import Quantized, quantize
from fgl.errors import DataError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.classifier import Classifier
    from fgl.contracts.features import Extractor


CLASS_NAMES = ("river", "airplane", "forest", "wrist watch")
DOMAINS = ("photo", "sketch")
GENERATOR = "0" * 64


@dataclass(frozen=True, slots=True)
class DrawnImages:
    """Labelled RGB images of 48x32 pixels, drawn from a seed: gradients, stripes, discs and noise in two colours.

    labels: int64 [n]. domains: n names or None.
    """

    labels: Labels
    domains: Sequence[str] | None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"ward-7/patient-{index:04d}.png"

    def image(self, index: int) -> Image.Image:
        draw = np.random.default_rng([self.seed, index])
        y, x = np.mgrid[0:32, 0:48]
        shapes = (
            x / 48,
            (np.sin((x + y) * draw.uniform(0.2, 1.0)) + 1) / 2,
            ((x - 24) ** 2 + (y - 16) ** 2 < draw.uniform(20, 120)).astype(float),
            draw.random((32, 48)),
        )
        low, high = draw.integers(0, 256, (2, 3))
        mix = shapes[index % len(shapes)][..., None]
        return Image.fromarray((low * (1 - mix) + high * mix).astype(np.uint8))


def encode_by_digest(prompts: Sequence[Prompt]) -> Mapping[str, Array]:
    """prompt_embeds, float32 [n, 4, 8]: a function of the text alone, for strategies that ask for an encoding."""
    rows = []
    for prompt in prompts:
        seed = int.from_bytes(hashlib.sha256(prompt.text.encode()).digest()[:8], "little")
        rows.append(np.random.default_rng(seed).standard_normal((4, 8), dtype=np.float32))
    return {"prompt_embeds": np.stack(rows) if rows else np.zeros((0, 4, 8), dtype=np.float32)}


def client_context(images: ImageSet, class_names: tuple[str, ...] = CLASS_NAMES) -> ClientContext:
    """A client that holds `images`."""
    return ClientContext("client-0", images, class_names, encode_by_digest, seed=7)


class PromptStrategyContract:
    """A prompt strategy writes prompts for the classes that its client holds, and for nothing else."""

    @staticmethod
    def make() -> PromptStrategy:
        raise NotImplementedError("set `make = staticmethod(lambda: YourStrategy(YourOptions()))` in the test class")

    @pytest.fixture
    def context(self) -> ClientContext:
        """A client with 24 images of classes 0, 1 and 3 (it holds no 2), in two domains."""
        labels = np.array([0] * 12 + [1] * 7 + [3] * 5, dtype=np.int64)
        return client_context(DrawnImages(labels, [DOMAINS[index % 2] for index in range(len(labels))]))

    def test_every_class_that_the_client_holds_gets_a_prompt_and_no_other_does(self, context: ClientContext) -> None:
        asked = {prompt.class_id for prompt in self.make().prompts(context)}
        assert asked == set(context.images.labels.tolist())

    def test_the_weights_of_a_class_sum_to_the_samples_that_the_client_holds_of_it(
        self, context: ClientContext
    ) -> None:
        weights: Counter[int] = Counter()
        for prompt in self.make().prompts(context):
            assert math.isfinite(prompt.weight), f"weight {prompt.weight} of {prompt.text!r} is not finite"
            assert prompt.weight > 0, f"weight {prompt.weight} of {prompt.text!r} is not positive"
            weights[prompt.class_id] += prompt.weight  # type: ignore[assignment]
        assert dict(weights) == pytest.approx(Counter(context.images.labels.tolist()))

    def test_prompts_are_text(self, context: ClientContext) -> None:
        for prompt in self.make().prompts(context):
            assert prompt.text.strip(), f"an empty prompt for class {prompt.class_id}"
            assert prompt.negative is None or prompt.negative.strip(), "no negative prompt is None, not an empty text"
            assert prompt.guidance_scale is None or math.isfinite(prompt.guidance_scale)

    def test_a_domain_is_one_that_the_client_holds(self, context: ClientContext) -> None:
        held = {None, *(context.images.domains or ())}
        assert {prompt.domain for prompt in self.make().prompts(context)} <= held

    def test_its_grammar_has_the_texts_that_it_writes(self, context: ClientContext) -> None:
        """Only strategies that can say what they may write have one."""
        grammar = getattr(self.make(), "grammar", None)
        if grammar is None:
            return
        grammars = list(grammar(context.class_names, sorted({*(context.images.domains or ())})))
        for prompt in self.make().prompts(context) if grammars else ():
            assert any(spells(places, prompt.text) for places in grammars), f"no grammar has {prompt.text!r}"

    def test_the_same_client_gets_the_same_prompts(self, context: ClientContext) -> None:
        assert self.make().prompts(context) == self.make().prompts(context)

    def test_one_instance_serves_many_clients(self, context: ClientContext) -> None:
        strategy = self.make()
        first = strategy.prompts(context)
        strategy.prompts(replace(context, client_id="client-1", images=Subset(context.images, [20, 21])))
        assert strategy.prompts(context) == first, "prompts for one client changed what another gets"

    def test_the_names_of_the_samples_stay_at_the_client(self, context: ClientContext) -> None:
        names = [context.images.name(index) for index in range(len(context.images))]
        for prompt in self.make().prompts(context):
            for text in (prompt.text, prompt.negative or ""):
                leaked = [part for name in names for part in (name, name.rsplit("/")[-1]) if part in text]
                assert not leaked, f"the prompt {text!r} holds the file name {leaked[0]!r}"

    def test_one_sample_is_enough(self, context: ClientContext) -> None:
        prompts = self.make().prompts(replace(context, images=Subset(context.images, [15])))
        assert {prompt.class_id for prompt in prompts} == {1}

    def test_a_client_without_samples_has_no_prompts(self, context: ClientContext) -> None:
        assert self.make().prompts(replace(context, images=Subset(context.images, []))) == []

    def test_a_class_name_with_braces_is_text_like_any_other(self, context: ClientContext) -> None:
        odd = ("{x}", "{label}", "{", "100% {}")
        asked = {prompt.class_id for prompt in self.make().prompts(replace(context, class_names=odd))}
        assert asked == set(context.images.labels.tolist())

    def test_a_dataset_without_domains_works_or_is_a_data_error(self, context: ClientContext) -> None:
        images = DrawnImages(context.images.labels, None)
        try:
            found = {prompt.domain for prompt in self.make().prompts(replace(context, images=images))}
        except DataError as error:
            message = str(error)
        else:
            assert found == {None}
            return
        assert "domain" in message, f"the message does not say that domains are missing: {message}"


def client_upload(client_id: str, seed: int, rows: int = 6, pool: int = 8) -> ClientUpload:
    """A valid upload: prompt_embeds float16 [n, 4, 8] drawn from `pool` rows that all clients share, so that some rows
    of different clients are equal; a shared negative prompt, which every third row lacks."""
    common = np.random.default_rng(1234)
    embeds = common.standard_normal((pool, 4, 8)).astype(np.float16)
    negative = common.standard_normal((1, 4, 8)).astype(np.float16)
    draw = np.random.default_rng(seed)
    picks = draw.choice(pool, size=rows, replace=False)
    return ClientUpload(
        client_id=client_id,
        round=0,
        encoder="e" * 64,
        arrays={"prompt_embeds": embeds[picks], "negative_prompt_embeds": negative},
        indices={"negative_prompt_embeds": np.where(picks % 3 == 2, -1, 0).astype(np.int32)},
        class_id=(picks % 3).astype(np.int64),
        weight=draw.integers(1, 40, rows) / 4,
        domain=tuple(DOMAINS[pick % 2] for pick in picks.tolist()),
        guidance_scale=np.where(picks == pool - 1, 3.0, np.nan),
    )


class AggregatorContract:
    """An aggregator maps the rows of uploads to rows to generate from, and loses no sample and no class."""

    @staticmethod
    def make() -> Aggregator:
        raise NotImplementedError("set `make = staticmethod(lambda: YourAggregator(YourOptions()))` in the test class")

    @pytest.fixture
    def uploads(self) -> list[ClientUpload]:
        """Four clients, sorted by id, that share some rows."""
        return [client_upload(f"client-{k}", seed=k) for k in range(4)]

    def test_the_weight_of_each_class_is_conserved(self, uploads: list[ClientUpload]) -> None:
        sent: dict[int, float] = {}
        for upload in uploads:
            for class_id, weight in zip(upload.class_id.tolist(), upload.weight.tolist(), strict=True):
                sent[class_id] = sent.get(class_id, 0.0) + weight
        result = self.make().aggregate(uploads, GENERATOR)
        assert (result.weight > 0).all()
        kept = {
            class_id: float(result.weight[result.class_id == class_id].sum())
            for class_id in set(result.class_id.tolist())
        }
        assert kept == pytest.approx(sent)

    def test_ids_are_unique_and_rows_sorted_by_class_and_id(self, uploads: list[ClientUpload]) -> None:
        result = self.make().aggregate(uploads, GENERATOR)
        assert len(set(result.ids)) == len(result)
        order = list(zip(result.class_id.tolist(), result.ids, strict=True))
        assert order == sorted(order)

    def test_the_order_in_which_uploads_arrive_does_not_matter(self, uploads: list[ClientUpload]) -> None:
        straight = self.make().aggregate(uploads, GENERATOR)
        for order in (uploads[::-1], uploads[2:] + uploads[:2]):
            _assert_same(straight, self.make().aggregate(order, GENERATOR))

    def test_the_same_uploads_give_the_same_rows(self, uploads: list[ClientUpload]) -> None:
        aggregator = self.make()
        _assert_same(aggregator.aggregate(uploads, GENERATOR), aggregator.aggregate(uploads, GENERATOR))

    def test_uploads_are_not_written_to(self, uploads: list[ClientUpload]) -> None:
        for upload in uploads:
            arrays = [np.asarray(array) for array in upload.arrays.values()]
            for array in (*arrays, *upload.indices.values(), upload.class_id, upload.weight):
                array.setflags(write=False)
        self.make().aggregate(uploads, GENERATOR)

    def test_rows_that_are_made_on_demand_are_rows_like_any_other(self, uploads: list[ClientUpload]) -> None:
        """As the codec int8 has them: an index makes the float32 row that 8 bits and a scale stand for."""
        made, plain = [], []
        for upload in uploads:
            arrays = {name: Quantized(*quantize(np.asarray(array))) for name, array in upload.arrays.items()}
            made.append(replace(upload, arrays=arrays))
            plain.append(replace(upload, arrays={name: np.asarray(array) for name, array in arrays.items()}))
        _assert_same(self.make().aggregate(made, GENERATOR), self.make().aggregate(plain, GENERATOR))

    def test_every_column_has_an_entry_for_every_row(self, uploads: list[ClientUpload]) -> None:
        result = self.make().aggregate(uploads, GENERATOR)
        assert len(result) > 0
        for name, dtype in (
            ("class_id", np.int64),
            ("weight", np.float64),
            ("guidance_scale", np.float64),
            ("source", np.int64),
            ("row", np.int64),
            ("clients", np.int64),
        ):
            column = getattr(result, name)
            assert column.shape == (len(result),), f"{name} has shape {column.shape}"
            assert column.dtype == dtype, f"{name} has dtype {column.dtype}, expected {np.dtype(dtype)}"
        assert len(result.domain) == len(result)

    def test_every_row_can_be_gathered_in_the_shape_of_the_uploads(self, uploads: list[ClientUpload]) -> None:
        result = self.make().aggregate(uploads, GENERATOR)
        for row in result.gather("prompt_embeds", range(len(result))):
            assert row is not None, "a row without prompt_embeds, which every upload has"
            assert row.shape == uploads[0].arrays["prompt_embeds"].shape[1:]
            assert np.isfinite(row).all()
        for row in result.gather("negative_prompt_embeds", range(len(result))):
            assert row is None or row.shape == uploads[0].arrays["negative_prompt_embeds"].shape[1:]

    def test_a_row_is_asked_for_by_at_least_one_client_and_at_most_all(self, uploads: list[ClientUpload]) -> None:
        clients = self.make().aggregate(uploads, GENERATOR).clients
        assert clients.min() >= 1
        assert clients.max() <= len(uploads)

    def test_another_generator_means_other_ids(self, uploads: list[ClientUpload]) -> None:
        ours = self.make().aggregate(uploads, GENERATOR).ids
        assert not set(ours) & set(self.make().aggregate(uploads, "1" * 64).ids)

    def test_one_upload_is_enough(self, uploads: list[ClientUpload]) -> None:
        result = self.make().aggregate(uploads[:1], GENERATOR)
        assert set(result.class_id.tolist()) == set(uploads[0].class_id.tolist())

    def test_no_uploads_give_no_rows(self) -> None:
        assert len(self.make().aggregate([], GENERATOR)) == 0


class FeatureSpaceContract:
    """A feature space gives an image the same features whatever stands beside it, and says whose features they are."""

    @staticmethod
    def make() -> FeatureSpace:
        raise NotImplementedError("set `make = staticmethod(lambda: YourSpace(YourOptions()))` in the test class")

    @pytest.fixture
    def classifier(self) -> Classifier:
        """The run's classifier, for spaces that are made of it."""
        from fgl.core.plugin_manager import PluginManager

        network = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "groups_width": 4}
        options = {"preset": "small", "image_size": 32, "epochs": 1, "batch_size": 8}
        options |= {"architecture": "regnet", "config": network}
        found: Classifier = PluginManager.load().registry.create("classifier", "transformers", options)
        return found

    @pytest.fixture
    def images(self) -> LabelledPixels:
        """24 images of 32x32 pixels, of four classes."""
        labels = np.arange(24, dtype=np.int64) % 4
        drawn = DrawnImages(labels, None)
        pixels = [np.asarray(drawn.image(index).resize((32, 32)), dtype=np.uint8) for index in range(24)]
        return LabelledPixels(np.stack(pixels), labels)

    @pytest.fixture
    def state(self, classifier: Classifier, images: LabelledPixels) -> Mapping[str, Array]:
        space = self.make()
        return space.learn(images, classifier, fit_context()) if space.learns() else {}

    @pytest.fixture
    def extractor(self, classifier: Classifier, state: Mapping[str, Array]) -> Extractor:
        return self.make().extractor(state, classifier, fit_context())

    def test_every_image_is_a_point_of_finite_numbers(self, extractor: Extractor, images: LabelledPixels) -> None:
        points = extractor.features(images.pixels, NullProgress())
        assert points.dtype == np.float32
        assert points.shape == (24, extractor.describe()["dimensions"])
        assert np.isfinite(points).all()
        assert len(np.unique(points, axis=0)) > 1, "all images have the same features"

    def test_no_image_is_no_point(self, extractor: Extractor, images: LabelledPixels) -> None:
        points = extractor.features(images.pixels[:0], NullProgress())
        assert points.shape == (0, extractor.describe()["dimensions"])

    def test_an_image_has_the_same_features_beside_whatever_others(
        self, extractor: Extractor, images: LabelledPixels
    ) -> None:
        points = extractor.features(images.pixels, NullProgress())
        scale = np.abs(points).max()
        alone = extractor.features(images.pixels[5:6], NullProgress())
        assert np.abs(alone[0] - points[5]).max() < 1e-4 * scale
        turned = extractor.features(images.pixels[::-1].copy(), NullProgress())
        assert np.abs(turned[::-1] - points).max() < 1e-4 * scale

    def test_the_same_state_gives_the_same_space(
        self, extractor: Extractor, state: Mapping[str, Array], classifier: Classifier, images: LabelledPixels
    ) -> None:
        carried = {name: np.array(array) for name, array in state.items()}
        other = self.make().extractor(carried, classifier, fit_context())
        assert (
            extractor.features(images.pixels, NullProgress()) == other.features(images.pixels, NullProgress())
        ).all()
        assert other.describe() == extractor.describe()

    def test_learning_again_gives_the_same_state(
        self, state: Mapping[str, Array], classifier: Classifier, images: LabelledPixels
    ) -> None:
        space = self.make()
        again = space.learn(images, classifier, fit_context()) if space.learns() else {}
        assert again.keys() == state.keys()
        assert all((again[name] == state[name]).all() for name in state)

    def test_it_says_whose_features_they_are(self, extractor: Extractor) -> None:
        said = json.loads(json.dumps(extractor.describe()))
        assert {"space", "model", "licence", "dimensions", "commit", "digest"} <= said.keys()
        assert said["space"]
        assert said["model"]
        assert said["licence"]

    def test_a_set_beside_itself_is_covered_and_at_no_distance(
        self, extractor: Extractor, images: LabelledPixels
    ) -> None:
        points = extractor.features(images.pixels, NullProgress())
        distances, positions = extractor.nearest(points, points)
        assert distances.max() < 1e-4 * np.abs(points).max()
        assert (points[positions] == points).all()
        said = extractor.compare(points, points, 0)
        assert said["coverage"] == said["precision"] == said["recall"] == 1

    def test_comparisons_are_json_and_say_why_a_figure_is_missing(
        self, extractor: Extractor, images: LabelledPixels
    ) -> None:
        points = extractor.features(images.pixels, NullProgress())
        for few in (0, 1, 2, 24):
            said = json.loads(json.dumps(extractor.compare(points, points[:few], 0)))
            figures = {"density", "coverage", "precision", "recall", "kid", "kid_se", "fid"}
            assert figures | {"k", "why"} <= said.keys()
            for name in figures - {"kid_se"}:
                assert (said[name] is None) == (name in said["why"]), f"{name} with {few} images"


def fit_context(class_names: tuple[str, ...] = CLASS_NAMES) -> FitContext:
    """How to train on the CPU, from a seed."""
    return FitContext(class_names=class_names, seed=3, device="cpu")


def _assert_same(one: Conditioning, other: Conditioning) -> None:
    assert one.ids == other.ids
    assert one.domain == other.domain
    for name in ("class_id", "weight", "guidance_scale", "clients"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in sorted({name for upload in one.sources for name in upload.arrays}):
        pairs = zip(one.gather(name, range(len(one))), other.gather(name, range(len(other))), strict=True)
        for ours, theirs in pairs:
            np.testing.assert_array_equal(
                np.array([]) if ours is None else ours, np.array([]) if theirs is None else theirs, err_msg=name
            )


__all__ = [
    "AggregatorContract",
    "DrawnImages",
    "PromptStrategyContract",
    "client_context",
    "client_upload",
    "encode_by_digest",
]
