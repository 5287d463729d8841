"""Generators that break one promise each: a sound one of a few numbers, with other members."""

from __future__ import annotations

import copy
import hashlib
import random
from dataclasses import replace

import numpy as np
import torch

from fgl.contracts.generator import ArraySpec, Footprint, ImageBatch, UploadSchema
from fgl.contracts.prompts import Prompt
from fgl.errors import ModelError
from fgl.testing.contracts import GeneratorContract

SIDE = 8
DECLARED = UploadSchema((ArraySpec("row", (4,)),), encoder="e" * 64)


class Encoder:
    def encode(self, prompts):
        rows = [np.frombuffer(hashlib.sha256(one.text.encode()).digest()[:4], np.uint8) for one in prompts]
        return {"row": np.stack(rows).astype(np.float32) if rows else np.zeros((0, 4), np.float32)}, {}

    def truncated(self, prompts):
        return sum(len(one.text) > 1000 for one in prompts)


class Synthesizer:
    def image(self, item, row):
        noise = np.random.default_rng([item.seed, *row.astype(int).tolist()])
        return noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

    def synthesize(self, shard, conditioning, progress):
        for item in shard.items:
            (row,) = conditioning.gather("row", [item.conditioning])
            yield ImageBatch(self.image(item, np.asarray(row))[None])
            progress(1)

    def notes(self):
        return {"batches": [1]}


class Generator:
    client, server = Encoder, Synthesizer

    def declare(self):
        return DECLARED

    def fingerprint(self):
        return "f" * 64

    def encoding(self):
        return {"hash": "sha256"}

    def rounding(self, device):
        return {"device": device}

    def describe(self):
        return {"model": "noise", "image_size": (SIDE, SIDE)}

    def encoder(self, device):
        return self.client()

    def synthesizer(self, device):
        return self.server()


def generator(**members):
    return type("Other", (Generator,), members)


def client(**members):
    return generator(client=type("OtherEncoder", (Encoder,), members))


def server(**members):
    return generator(server=type("OtherSynthesizer", (Synthesizer,), members))


def encoded(change):
    """With other rows."""
    return client(encode=lambda self, prompts: ({"row": change(Encoder.encode(self, prompts)[0]["row"], prompts)}, {}))


def batches(change):
    """With other batches."""

    def synthesize(self, shard, conditioning, progress):
        for batch in Synthesizer.synthesize(self, shard, conditioning, progress):
            yield from change(batch)

    return server(synthesize=synthesize)


class RefuseArrayOfIntegers(GeneratorContract):
    refused_by = "test_its_declaration_is_one_that_uploads_can_be_held_to"
    make = generator(declare=lambda self: UploadSchema((ArraySpec("row", (4,), dtypes=("int32",)),), "e"))


class RefuseNoArrays(GeneratorContract):
    refused_by = "test_its_declaration_is_one_that_uploads_can_be_held_to"
    make = generator(declare=lambda self: UploadSchema((), "e"))


class RefuseShortFingerprint(GeneratorContract):
    refused_by = "test_its_fingerprint_is_a_sha256"
    make = generator(fingerprint=lambda self: "noise-1")


class RefuseFingerprintAtRandom(GeneratorContract):
    refused_by = "test_another_instance_says_the_same"
    make = generator(fingerprint=lambda self: f"{random.SystemRandom().getrandbits(256):064x}")


class RefuseObjectInDescription(GeneratorContract):
    refused_by = "test_what_it_says_is_json"
    make = generator(describe=lambda self: {"image_size": (SIDE, SIDE), "model": object()})


class RefuseNoSize(GeneratorContract):
    refused_by = "test_the_size_of_its_images_is_stated"
    make = generator(describe=lambda self: {"model": "noise"})


class RefuseDoubles(GeneratorContract):
    refused_by = "test_arrays_are_as_declared"
    make = encoded(lambda rows, _: rows.astype(np.float64))


class RefuseMissingRow(GeneratorContract):
    refused_by = "test_arrays_are_as_declared"
    make = encoded(lambda rows, _: rows[:-1])


class RefuseBeyondTheBound(GeneratorContract):
    refused_by = "test_a_server_accepts_an_upload_of_it"
    make = encoded(lambda rows, _: rows + np.float32(2e4))


class RefuseSortedRows(GeneratorContract):
    refused_by = "test_rows_follow_the_prompts_and_do_not_depend_on_the_others"
    make = encoded(lambda rows, _: rows[np.argsort(rows[:, 0])])


class RefuseCentredRows(GeneratorContract):
    refused_by = "test_rows_follow_the_prompts_and_do_not_depend_on_the_others"
    make = encoded(lambda rows, _: rows - rows.mean(0))


class RefuseNoisyRows(GeneratorContract):
    refused_by = "test_equal_prompts_give_equal_rows_to_the_bit"
    make = encoded(lambda rows, _: rows + np.float32(random.SystemRandom().random()))


class RefuseRowOfNothing(GeneratorContract):
    refused_by = "test_no_prompts_give_no_rows"
    make = encoded(lambda rows, prompts: rows if len(rows) else np.zeros((1, 4), np.float32))


class RefuseCutsCountedOnce(GeneratorContract):
    refused_by = "test_prompts_that_are_cut_are_counted_one_by_one"
    make = client(truncated=lambda self, prompts: 1)


class RefuseSizeOtherThanStated(GeneratorContract):
    refused_by = "test_every_item_gets_one_image_of_the_stated_size"
    make = batches(lambda batch: [ImageBatch(batch.pixels[:, : SIDE // 2])])


class RefuseTwoImagesAnItem(GeneratorContract):
    refused_by = "test_every_item_gets_one_image_of_the_stated_size"
    make = batches(lambda batch: [batch, batch])


class RefuseRejectedBeyondTheBatch(GeneratorContract):
    refused_by = "test_every_item_gets_one_image_of_the_stated_size"
    make = batches(lambda batch: [replace(batch, rejected=(99,))])


class RefuseSilentProgress(GeneratorContract):
    refused_by = "test_every_item_gets_one_image_of_the_stated_size"
    make = server(synthesize=lambda self, shard, rows, _: Synthesizer.synthesize(self, shard, rows, lambda count: None))


class RefusePlaceInTheShard(GeneratorContract):
    refused_by = "test_an_image_depends_on_its_item_alone_to_the_last_bit"

    @staticmethod
    def make():
        class Placed(Synthesizer):
            def synthesize(self, shard, conditioning, progress):
                for place, batch in enumerate(super().synthesize(shard, conditioning, progress)):
                    yield ImageBatch(batch.pixels + np.uint8(place))

        return generator(server=Placed)()


class RefuseOneImageARow(GeneratorContract):
    refused_by = "test_another_seed_is_another_image"
    make = server(image=lambda self, item, row: Synthesizer.image(self, replace(item, seed=0), row))


def writing(self, shard, conditioning, progress):
    np.asarray(conditioning.sources[0].arrays["row"])[:] = 0
    return Synthesizer.synthesize(self, shard, conditioning, progress)


class RefuseWrittenRows(GeneratorContract):
    refused_by = "test_rows_are_not_written_to"
    make = server(synthesize=writing)


class RefuseErrorForNoItems(GeneratorContract):
    refused_by = "test_no_shard_items_are_no_images"
    make = server(
        synthesize=lambda self, shard, rows, progress: (
            shard.items[0] and Synthesizer.synthesize(self, shard, rows, progress)
        )
    )


class RefuseObjectInNotes(GeneratorContract):
    refused_by = "test_notes_are_json"
    make = server(notes=lambda self: {"sizes": object()})


class RefuseHalfThatIsMoreThanTheWhole(GeneratorContract):
    refused_by = "test_the_clients_half_weighs_no_more_than_the_whole"

    @staticmethod
    def make():
        class Told(Generator):
            def footprint(self, whole):
                return Footprint(("text", "image"), 2, 8) if not whole else Footprint(("text",), 1, 4)

        return Told()


class RefuseGlobalNoise(GeneratorContract):
    refused_by = "test_work_leaves_global_random_numbers_alone"
    make = server(image=lambda self, item, row: np.random.seed(item.seed % 1000) or Synthesizer.image(self, item, row))


# --- with a denoiser


class Net(torch.nn.Module):
    """Adds what it is conditioned on to what it sees."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))

    def forward(self, noisy, row):
        return noisy * self.scale + row.mean(1, keepdim=True) * 1e-3


class Denoiser:
    """A sound one, whose latents are mean colors."""

    timesteps = 10

    def __init__(self):
        self.module = Net().requires_grad_(False)
        self.signal = torch.linspace(0.999, 0.1, self.timesteps)

    def latents(self, pixels):
        return torch.from_numpy(pixels.copy()).float().mean((1, 2)) / 127.5 - 1

    def loss(self, latents, arrays, rng, timesteps=None):
        steps = torch.randint(0, 10, (len(latents),), generator=rng) if timesteps is None else timesteps
        noise = torch.randn(latents.shape, generator=rng)
        kept = self.signal[steps][:, None]
        noisy = kept * latents + (1 - kept**2).sqrt() * noise
        return (self.module(noisy, arrays["row"]) - latents).square().mean(1)

    def predict(self, noisy, timesteps, arrays):
        return self.module(noisy, arrays["row"])

    def pixels(self, latents):
        colors = ((latents + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
        return np.broadcast_to(colors[:, None, None], (len(latents), SIDE, SIDE, 3)).copy()

    def parameters(self):
        return 3

    def size_bytes(self):
        return 12


def denoiser(**members):
    kind = type("OtherDenoiser", (Denoiser,), members)
    return generator(denoiser=lambda self, device: kind())


class RefuseLatentsInAnotherOrder(GeneratorContract):
    refused_by = "test_latents_follow_the_images_and_have_no_gradient"
    make = denoiser(latents=lambda self, pixels: Denoiser.latents(self, pixels).sort(0).values)


class RefuseLatentsWithAGradient(GeneratorContract):
    refused_by = "test_latents_follow_the_images_and_have_no_gradient"
    make = denoiser(latents=lambda self, pixels: Denoiser.latents(self, pixels).requires_grad_())


class RefuseOneLossForAll(GeneratorContract):
    refused_by = "test_the_loss_is_each_images_and_its_draws_are_the_generators"
    make = denoiser(loss=lambda self, *given, **more: Denoiser.loss(self, *given, **more).mean())


class RefuseNoiseOfItsOwn(GeneratorContract):
    refused_by = "test_the_loss_is_each_images_and_its_draws_are_the_generators"
    make = denoiser(
        loss=lambda self, latents, arrays, rng, timesteps=None: Denoiser.loss(
            self, latents, arrays, torch.Generator().manual_seed(5), timesteps
        )
    )


class RefuseTimestepsOfItsOwn(GeneratorContract):
    refused_by = "test_the_loss_takes_the_timesteps_of_the_caller"
    make = denoiser(loss=lambda self, latents, arrays, rng, timesteps=None: Denoiser.loss(self, latents, arrays, rng))


class RefuseDetachedRows(GeneratorContract):
    refused_by = "test_gradients_reach_what_images_are_conditioned_on_and_no_frozen_weight"
    make = denoiser(
        loss=lambda self, latents, arrays, *rest: Denoiser.loss(
            self, latents.requires_grad_(), {"row": arrays["row"].detach()}, *rest
        )
    )


class RefuseTrainableAsLoaded(GeneratorContract):
    refused_by = "test_gradients_reach_what_images_are_conditioned_on_and_no_frozen_weight"

    @staticmethod
    def make():
        class Loose(Denoiser):
            def __init__(self):
                super().__init__()
                self.module.requires_grad_(True)

        return generator(denoiser=lambda self, device: Loose())()


class RefuseFrozenForGood(GeneratorContract):
    refused_by = "test_its_weights_train_once_they_are_unfrozen"

    @staticmethod
    def make():
        class Frozen(Denoiser):
            def loss(self, latents, arrays, rng, timesteps=None):
                other = copy.deepcopy(self.module)
                self.module, kept = other, self.module
                try:
                    return super().loss(latents, arrays, rng, timesteps)
                finally:
                    self.module = kept

        return generator(denoiser=lambda self, device: Frozen())()


class RefuseWeightsThatAreNotCounted(GeneratorContract):
    refused_by = "test_what_is_loaded_is_counted"
    make = denoiser(parameters=lambda self: 2)


class RefuseBytesThatAreNotCounted(GeneratorContract):
    refused_by = "test_what_is_loaded_is_counted"
    make = denoiser(size_bytes=lambda self: 6)


class RefuseSignalThatGrows(GeneratorContract):
    refused_by = "test_noisy_latents_are_made_out_the_better_the_less_noise_there_is"
    make = denoiser(signal=property(lambda self: torch.linspace(0.1, 0.9, 10), lambda self, value: None))


class RefuseTheNoiseForTheLatents(GeneratorContract):
    refused_by = "test_noisy_latents_are_made_out_the_better_the_less_noise_there_is"
    make = denoiser(predict=lambda self, noisy, timesteps, arrays: torch.randn(noisy.shape) * 3)


class RefuseFractionsForPixels(GeneratorContract):
    refused_by = "test_latents_become_images_of_the_stated_size"
    make = denoiser(pixels=lambda self, latents: Denoiser.pixels(self, latents) / 255)


class RefuseSmallerImages(GeneratorContract):
    refused_by = "test_latents_become_images_of_the_stated_size"
    make = denoiser(pixels=lambda self, latents: Denoiser.pixels(self, latents)[:, ::2, ::2])


class RefuseColorsOfTheBatch(GeneratorContract):
    refused_by = "test_latents_become_images_of_the_stated_size"
    make = denoiser(pixels=lambda self, latents: Denoiser.pixels(self, latents - latents.mean(0) + 0.3))


# --- with a text encoder that can be learned through


class WordVectors:
    """A sound one: the row of a text is the encoder's, plus what its word has moved from where it started."""

    def __init__(self, texts, words):
        if any(word not in text for text, word in zip(texts, words, strict=True)):
            raise ModelError("a word is not in its text")
        rows, _ = Encoder().encode([Prompt(0, text) for text in texts])
        self.rows = torch.from_numpy(rows["row"])
        self.vectors = {"word": np.ones((len(texts), 4), np.float32)}

    def encode(self, vectors, index):
        return {"row": self.rows[index] + vectors["word"][index] - 1}


def learned_through(**members):
    kind = type("OtherWordVectors", (WordVectors,), members)
    return generator(word_vectors=lambda self, texts, words, device: kind(texts, words))


class RefuseWordsThatStartElsewhere(GeneratorContract):
    refused_by = "test_words_start_as_they_are_and_gradients_reach_them"
    make = learned_through(encode=lambda self, vectors, index: {"row": self.rows[index] + vectors["word"][index]})


class RefuseWordsWithoutAGradient(GeneratorContract):
    refused_by = "test_words_start_as_they_are_and_gradients_reach_them"
    make = learned_through(encode=lambda self, vectors, index: {"row": self.rows[index] + 0 * vectors["word"][index]})


class RefuseAGradientForOtherTexts(GeneratorContract):
    refused_by = "test_words_start_as_they_are_and_gradients_reach_them"
    make = learned_through(
        encode=lambda self, vectors, index: {"row": self.rows[index] + vectors["word"][index] - vectors["word"].mean()}
    )


class RefuseAWordThatIsNotInItsText(GeneratorContract):
    refused_by = "test_words_start_as_they_are_and_gradients_reach_them"

    @staticmethod
    def make():
        class Lenient(WordVectors):
            def __init__(self, texts, words):
                super().__init__(texts, texts)

        return generator(word_vectors=lambda self, texts, words, device: Lenient(texts, words))()


# --- with variations of images


class Variations(Synthesizer):
    """Sound ones: a mixture of the original and noise."""

    def __init__(self, original, strength):
        self.original, self.strength = original, strength

    def image(self, item, row):
        begun = self.original(item).astype(np.float64)
        return ((1 - self.strength) * begun + self.strength * super().image(item, row)).astype(np.uint8)


def variations(**members):
    kind = type("OtherVariations", (Variations,), members)
    return generator(varying=lambda self, device, original, strength: kind(original, strength))


class RefuseVariationsOfHalfTheSize(GeneratorContract):
    refused_by = "test_every_item_gets_one_variation_of_the_stated_size"
    make = variations(image=lambda self, item, row: Variations.image(self, item, row)[: SIDE // 2])


class RefuseNothingForTheWeakest(GeneratorContract):
    refused_by = "test_every_item_gets_one_variation_of_the_stated_size"
    make = variations(
        synthesize=lambda self, shard, rows, progress: (
            Variations.synthesize(self, shard, rows, progress) if self.strength > 1e-3 else iter(())
        )
    )


class RefuseOriginalOfTheShardsFirst(GeneratorContract):
    refused_by = "test_a_variation_depends_on_its_item_and_its_original_alone_to_the_last_bit"

    @staticmethod
    def make():
        class First(Variations):
            def synthesize(self, shard, conditioning, progress):
                asked, self.original = self.original, lambda item: asked(shard.items[0])
                yield from super().synthesize(shard, conditioning, progress)

        return generator(varying=lambda self, device, original, strength: First(original, strength))()


class RefuseVariationsWithoutASeed(GeneratorContract):
    refused_by = "test_another_seed_is_another_variation"
    make = variations(image=lambda self, item, row: Variations.image(self, replace(item, seed=0), row))


class RefuseImagesThatBeginAsNoise(GeneratorContract):
    refused_by = "test_the_weaker_a_variation_is_the_more_is_left_of_its_original"
    make = variations(image=Synthesizer.image)


class RefuseStrengthTheOtherWayRound(GeneratorContract):
    refused_by = "test_the_weaker_a_variation_is_the_more_is_left_of_its_original"
    make = generator(varying=lambda self, device, original, strength: Variations(original, 1 - strength))


class RefuseOriginalsThatAreWrittenTo(GeneratorContract):
    refused_by = "test_originals_and_global_random_numbers_are_left_alone"

    @staticmethod
    def make():
        class Writing(Variations):
            def image(self, item, row):
                image = super().image(item, row)
                self.original(item)[:] = image
                return image

        return generator(varying=lambda self, device, original, strength: Writing(original, strength))()


class RefuseVariationsByGlobalNoise(GeneratorContract):
    refused_by = "test_originals_and_global_random_numbers_are_left_alone"
    make = variations(
        image=lambda self, item, row: np.random.seed(item.seed % 1000) or Variations.image(self, item, row)
    )
