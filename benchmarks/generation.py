"""How fast fgl generates: against the paper's way, and against what the device can do.

    python benchmarks/generation.py --out benchmarks/results/generation_tiny.json
    python benchmarks/generation.py --model sd21 --device cuda --images 320 --out FILE
    python benchmarks/generation.py --model sdxl --device cuda --images 96 --set compile=true --set channels_last=true

paper: the pipeline called with prompt strings in batches of 10, then each image resized with PIL and saved as a PNG in
the loop. fgl: the synthesize stage of a run from uploaded embeddings, up to committed shards; it loads the model each
time, which is given apart. Both with the same model, size, steps, guidance and number format, turn by turn in one
process.

sd21 and sdxl are the architectures at full size with random weights: speed does not depend on the weights. The share of
the peak is the denoiser's arithmetic (torch's FlopCounterMode on one call) over the time of such calls one after
another, divided by what this device reaches in a large bf16 matrix product, measured here.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
import yaml
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import fgl.plugins.generators  # noqa: E402
from benchmarks import architectures  # noqa: E402
from fgl.contracts.progress import NullProgress  # noqa: E402
from fgl.core.config.saved import load_config  # noqa: E402
from fgl.core.plugin_manager import PluginManager  # noqa: E402
from fgl.core.preflight import open_session  # noqa: E402
from fgl.core.stages import pipeline as stages  # noqa: E402
from fgl.core.stages import plan, synthesize  # noqa: E402
from fgl.core.store.run_dir import RunDir  # noqa: E402
from fgl.plugins._logging import quiet_diffusers  # noqa: E402
from fgl.plugins.generators.loading import DTYPES  # noqa: E402

TINY = Path(fgl.plugins.generators.__file__).parent / "tiny"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["tiny", "sd21", "sdxl"], default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="bf16")
    parser.add_argument("--images", type=int, default=400, help="divided by ten classes")
    parser.add_argument("--steps", type=int, help="denoising steps; default: 16 for tiny, else 50")
    parser.add_argument("--guidance", type=float, help="default: 1 for tiny, else 2, as in the paper")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--set",
        dest="options",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="option of fgl's generator, such as compile=true; repeatable",
    )
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    args = parser.parse_args()
    tiny = args.model == "tiny"
    steps, guidance = args.steps or (16 if tiny else 50), args.guidance or (1.0 if tiny else 2.0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = TINY if tiny else architectures.save(args.model, folder / "model", DTYPES[args.dtype])
        options = {
            "name": "stable-diffusion-xl" if args.model == "sdxl" else "tiny" if tiny else "stable-diffusion",
            "model": str(model),
            "dtype": args.dtype,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            **{key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in args.options)},
        }
        result = compare(folder, model, options, args)
    result = {
        "command": " ".join(["python", "benchmarks/generation.py", *sys.argv[1:]]),
        "model": args.model,
        "generator": options | {"model": args.model},
        "device": device_name(args.device),
        **result,
        "versions": {one.__name__: one.__version__ for one in (torch, diffusers, transformers)},
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result, indent=1))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def compare(folder: Path, model: Path, generator: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    manager = PluginManager.load()
    config = load_config(
        {
            "device": args.device,
            "generator": generator,
            "baselines": "none",
            "synthesis": {"images_per_class": args.images // 10},
            "upload": {"codec": "fp32"},
        },
        manager,
    )
    session = open_session(config, manager, RunDir(folder / "run"), NullProgress())
    session.run.root.mkdir()
    done = stages.run(session, "plan")
    planned = plan.planned(session, done)
    assert len(planned.conditioning) > 0  # made before the clock runs
    items, names = planned.items, session.info.class_names

    def ours() -> None:
        shutil.rmtree(folder / "run/server/shards", ignore_errors=True)
        session.run.forget_stage("synthesize")
        synthesize.STAGE.run(session, done)
        wait(args.device)

    def loading() -> None:
        session.generator.synthesizer(args.device)
        wait(args.device)

    with quiet_diffusers():
        pipeline = diffusers.DiffusionPipeline.from_pretrained(model, safety_checker=None)
    pipeline.to(args.device, DTYPES[generator["dtype"]])
    pipeline.set_progress_bar_config(disable=True)
    side = 32 if args.model == "tiny" else 256  # the paper keeps 256 of 512 pixels

    def papers() -> None:
        out = folder / "papers"
        out.mkdir(exist_ok=True)
        for start in range(0, len(items), 10):
            prompts = [
                f"{names[item.class_id]}, real world images, high resolution" for item in items[start : start + 10]
            ]
            with quiet_diffusers():
                made = pipeline(
                    prompts,
                    negative_prompt=["low quality, low resolution"] * len(prompts),
                    num_inference_steps=generator["num_inference_steps"],
                    guidance_scale=generator["guidance_scale"],
                ).images
            for number, image in enumerate(made):
                image.resize((side, side)).save(out / f"{start + number:05d}.png")

    ways: dict[str, Callable[[], None]] = {"fgl": ours, "loading": loading, "paper": papers}
    for way in ways.values():
        way()  # compilation and allocation belong to neither
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(args.repeats):
        for name in sorted(ways, reverse=bool(turn % 2)):
            start = time.perf_counter()
            ways[name]()
            times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(found) for name, found in times.items()}
    own = seconds["fgl"] - seconds["loading"]
    return {
        "images": len(items),
        "seconds": {name: round(found, 3) for name, found in seconds.items()},
        "turns": {name: [round(one, 3) for one in found] for name, found in times.items()},
        "images_per_second": {
            "fgl": round(len(items) / own, 3),
            "paper": round(len(items) / seconds["paper"], 3),
        },
        "fgl_to_paper": round(seconds["paper"] / own, 3),
        "fgl_with_loading_to_paper": round(seconds["paper"] / seconds["fgl"], 3),
        "denoiser": denoiser(session, args.device, generator, own / len(items)),
    }


@torch.no_grad()
def denoiser(session: Any, device: str, generator: dict[str, Any], seconds_an_image: float) -> dict[str, Any]:
    painter = session.generator.synthesizer(device)
    unet, options = painter._unet, session.generator.options
    guided = 2 if options.guidance_range[1] > 1 else 1
    rows = guided * painter._batch
    config, dtype = painter._pipeline.unet.config, DTYPES[generator["dtype"]]
    sides = [side // session.generator._folder("unet", "vae").scale_factor() for side in painter._size]
    sample = torch.randn(rows, config.in_channels, *sides, device=device, dtype=dtype)
    sample = sample.contiguous(memory_format=painter._layout)
    width = config.cross_attention_dim
    tokens = session.generator.declare().arrays[0].shape[0]
    given: dict[str, Any] = {"encoder_hidden_states": torch.randn(rows, tokens, width, device=device, dtype=dtype)}
    if config.addition_embed_type == "text_time":
        given["added_cond_kwargs"] = {
            "text_embeds": torch.randn(rows, 1280, device=device, dtype=dtype),
            "time_ids": torch.zeros(rows, 6, device=device),
        }
    step = torch.tensor(500, device=device)
    with FlopCounterMode(display=False) as counter:
        painter._pipeline.unet(sample, step, **given)
    flops = counter.get_total_flops()
    for _ in range(3):
        unet(sample, step, **given)
    wait(device)
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < 5:
        unet(sample, step, **given)
        wait(device)
        calls += 1
    rate = flops * calls / (time.perf_counter() - start)
    peak = peak_of(device)
    whole = flops / painter._batch * options.num_inference_steps / seconds_an_image
    return {
        "batch": painter._batch,
        "rows": rows,
        "gflop_an_image_and_step": round(flops / painter._batch / 1e9, 3),
        "tflops": round(rate / 1e12, 3),
        "bf16_peak_tflops": round(peak / 1e12, 3),
        "share_of_peak": round(rate / peak, 3),
        "share_of_peak_over_the_whole_stage": round(whole / peak, 3),
    }


def peak_of(device: str) -> float:
    """Operations a second of a bf16 matrix product, the best of several sizes."""
    best = 0.0
    for size in (1024, 2048, 4096) if device == "cpu" else (4096, 8192, 16384):
        a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
        torch.mm(a, b)
        wait(device)
        for _ in range(5):
            start = time.perf_counter()
            torch.mm(a, b)
            wait(device)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    names = (
        [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        if Path("/proc/cpuinfo").exists()
        else []
    )
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
