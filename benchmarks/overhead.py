"""What fgl costs beside the arithmetic, as ratios of times measured turn by turn in one process.

    python benchmarks/overhead.py --images 600 --repeats 3 --out benchmarks/results/overhead.json

synthesize: the stage as a run has it (batches, PNG, parquet, manifests, digest) against a bare loop of the same
denoiser and decoder calls on the same batches, and against the paper's way: the pipeline called with prompt strings in
batches of 10, each image resized with PIL and saved as a PNG of its own. train: the classifier's images a second
against a bare loop of the same model, augmentation and optimizer, and the share of the cores that is busy.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, UNet2DConditionModel

import fgl.plugins.generators
from fgl.contracts.classifier import FitContext
from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.progress import NullProgress
from fgl.core.config.saved import load_config
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.stages import pipeline as stages
from fgl.core.stages import plan, synthesize
from fgl.core.store.run_dir import RunDir
from fgl.plugins._logging import quiet_diffusers
from fgl.plugins.classifiers.architectures import build
from fgl.plugins.classifiers.augment import Augmenter
from fgl.plugins.classifiers.classifier import TransformersClassifier, batches, make_optimizer, rate
from fgl.plugins.classifiers.model import Network
from fgl.plugins.classifiers.options import ClassifierOptions

_EMBEDDED = Path(fgl.plugins.generators.__file__).parent / "tiny"


@contextmanager
def instead_of(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """Call a method of a library through `wrap`, which measures it; the method itself does the work."""
    before = getattr(owner, name)
    setattr(owner, name, wrap(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def synthesis(images: int, repeats: int, folder: Path) -> dict[str, Any]:
    config = load_config({"generator": "tiny", "synthesis": {"images_per_class": images // 10}}, PluginManager.load())
    session = open_session(config, PluginManager.load(), RunDir(folder / "run"), NullProgress())
    session.run.root.mkdir()
    done = stages.run(session, "plan")
    planned = plan.planned(session, done)
    assert len(planned.conditioning) > 0  # made before the clock runs
    options: Any = session.generator.options  # type: ignore[attr-defined]
    painter: Any = session.generator.synthesizer("cpu")
    pipeline = painter._pipeline
    embeds = torch.from_numpy(
        np.stack([np.asarray(row, np.float32) for row in planned.conditioning.gather("prompt_embeds", range(10))])
    )
    items = planned.items

    def ours() -> None:
        shutil.rmtree(folder / "run" / "server" / "shards", ignore_errors=True)
        session.run.forget_stage("synthesize")
        synthesize.STAGE.run(session, done)

    def load_alone() -> None:
        session.generator.synthesizer("cpu")

    @torch.no_grad()
    def bare() -> None:
        dtype = painter._dtype
        size = options.batch_size
        for start in range(0, len(items), size):
            rows = torch.tensor([item.conditioning for item in items[start : start + size]])
            given = embeds[rows].to(dtype)
            pipeline.scheduler.set_timesteps(options.num_inference_steps)
            latents = torch.randn(len(rows), pipeline.unet.config.in_channels, 8, 8)
            for step in pipeline.scheduler.timesteps:
                sample = pipeline.scheduler.scale_model_input(latents, step).to(dtype)
                sample = sample.contiguous(memory_format=painter._layout)
                guess = pipeline.unet(sample, step, encoder_hidden_states=given, return_dict=False)[0].float()
                latents = pipeline.scheduler.step(guess, step, latents, return_dict=False)[0]
            part = (latents / pipeline.vae.config.scaling_factor).to(dtype).contiguous(memory_format=painter._layout)
            pipeline.vae.decode(part, return_dict=False)

    from diffusers import StableDiffusionPipeline

    with quiet_diffusers():
        whole = StableDiffusionPipeline.from_pretrained(_EMBEDDED, safety_checker=None)
    whole.to(painter._dtype)
    whole.set_progress_bar_config(disable=True)
    names = session.info.class_names

    def papers() -> None:
        out = folder / "papers"
        out.mkdir(exist_ok=True)
        for start in range(0, len(items), 10):
            prompts = [f"a centered satellite photo of {names[item.class_id]}" for item in items[start : start + 10]]
            with quiet_diffusers():
                made = whole(
                    prompts, num_inference_steps=options.num_inference_steps, guidance_scale=options.guidance_range[1]
                ).images
            for number, image in enumerate(made):
                image.resize((32, 32)).save(out / f"{start + number:05d}.png")

    # What of either way is spent inside the denoiser and the decoder: a ratio that a machine whose speed changes from
    # turn to turn does not disturb.
    inside = {"fgl": 0.0, "bare": 0.0}
    whole_of = {"fgl": 0.0, "bare": 0.0}

    def watched(name: str, way: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            spent = 0.0

            def timed(function: Callable[..., Any]) -> Callable[..., Any]:
                def call(*arguments: Any, **more: Any) -> Any:
                    nonlocal spent
                    start = time.perf_counter()
                    found = function(*arguments, **more)
                    spent += time.perf_counter() - start
                    return found

                return call

            start = time.perf_counter()
            with (
                instead_of(UNet2DConditionModel, "forward", timed),
                instead_of(AutoencoderTiny, "decode", timed),
            ):
                way()
            whole_of[name] += time.perf_counter() - start
            inside[name] += spent

        return run

    ways = {
        "fgl": watched("fgl", ours),
        "loading the model": load_alone,
        "bare": watched("bare", bare),
        "paper": papers,
    }
    times = turns(ways, repeats)
    # The stage loads the model each time; a bare loop has it. Both are given: with the load, and without.
    own = times["fgl"] - times["loading the model"]
    share = {name: round(whole_of[name] / inside[name], 3) for name in inside}
    return {
        "images": images,
        "seconds": times,
        "fgl_to_bare": round(own / times["bare"], 3),
        "whole_to_model_calls": {**share, "fgl_to_bare": round(share["fgl"] / share["bare"], 3)},
        "fgl_with_load_to_bare": round(times["fgl"] / times["bare"], 3),
        "paper_to_fgl": round(times["paper"] / own, 3),
        "paper_to_fgl_with_load": round(times["paper"] / times["fgl"], 3),
    }


def training(images: int, repeats: int) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    data = LabelledPixels(draw.integers(0, 256, (images, 32, 32, 3), np.uint8), draw.integers(0, 10, images))
    names = tuple(f"class {k}" for k in range(10))
    found = load_config({"classifier": {"name": "small", "epochs": 3}}, PluginManager.load()).classifier.options
    options = ClassifierOptions(**found)
    context = FitContext(names, 0, "cpu")

    def ours() -> None:
        TransformersClassifier(options).fit(data, None, context)

    def bare() -> None:
        network = Network(build(options, names, 0), options, torch.device("cpu"))
        augmenter = Augmenter(options, options.image_size, network.device, 0)
        optimizer = make_optimizer(options, network.model)
        network.model.train()
        steps, step = options.epochs * len(batches(np.arange(images), options.batch_size)), 0
        for epoch in range(options.epochs):
            for chosen in batches(np.random.default_rng(epoch).permutation(images), options.batch_size):
                pixels, labels = torch.from_numpy(data.pixels[chosen]), torch.from_numpy(data.labels[chosen])
                logits = network.logits(augmenter.train(pixels))
                loss = F.cross_entropy(logits, labels, label_smoothing=options.label_smoothing)
                for group in optimizer.param_groups:
                    group["lr"] = options.lr * rate(options, step, steps)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                step += 1

    clock, busy = time.perf_counter(), time.process_time()
    times = turns({"fgl": ours, "bare": bare}, repeats)
    cores = (time.process_time() - busy) / (time.perf_counter() - clock)
    return {
        "images": images,
        "epochs": options.epochs,
        "seconds": times,
        "images_per_second": round(images * options.epochs / times["fgl"]),
        "fgl_to_bare": round(times["fgl"] / times["bare"], 3),
        "cores_busy": round(cores, 2),
        "cores": len(os.sched_getaffinity(0)),
    }


def turns(ways: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each way, one after the other in every round, after a round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                found[name].append(time.perf_counter() - start)
    print({name: [round(value, 2) for value in values] for name, values in found.items()}, flush=True)
    return {name: round(statistics.median(values), 3) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=["train", "synthesize"])
    args = parser.parse_args()
    result: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/overhead.py", *sys.argv[1:]]),
        "threads": torch.get_num_threads(),
    }
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "synthesize":
            result["train"] = training(2000, args.repeats)
        if args.only != "train":
            result["synthesize"] = synthesis(args.images, args.repeats, Path(folder))
        print(json.dumps(result, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
