"""Real → reconstructed → synthetic on one axis: what the autoencoder costs, and what the generator costs on top.

    python benchmarks/ladder.py --source DATA --dataset eurosat --vae .train/ae.pt --synthetic RUN/images --out FILE

Trains the default `small` classifier on (a) real images of the public half, (b) the same images through the
autoencoder, (c) synthetic images from parquet files with columns image and label. Each is tested on the real test
split, which nothing else sees. One row is the mean over seeds; the real rung is the ceiling of the other two.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fgl.contracts.classifier import FitContext  # noqa: E402
from fgl.contracts.dataset import LabelledPixels  # noqa: E402
from fgl.plugins.classifiers import fgl_classifiers  # noqa: E402
from fgl.plugins.classifiers.classifier import TransformersClassifier  # noqa: E402
from fgl.plugins.classifiers.options import ClassifierOptions  # noqa: E402
from tools.tiny.data import load  # noqa: E402
from tools.tiny.nets import autoencoder  # noqa: E402


@dataclass
class Rung:
    """One kind of training images, and what came of it: a top-1 and training seconds for each seed, PSNR in dB."""

    name: str
    data: LabelledPixels
    psnr: float | None = None
    top1: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with <dataset>/{train,test}.parquet")
    parser.add_argument("--dataset", default="eurosat", choices=["eurosat", "fashion_mnist"])
    parser.add_argument("--half", default="public", choices=["public", "private"], help="of the training split")
    parser.add_argument("--per-class", type=int, default=300, help="real images a class at most")
    parser.add_argument("--vae", type=Path, help="diffusers folder, or checkpoint of tools/train_tiny.py")
    parser.add_argument("--synthetic", type=Path, help="folder of parquet files with columns image and label")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each rung")
    parser.add_argument("--epochs", type=int, help="instead of the default of the classifier")
    parser.add_argument("--classifier", default="small", help="a built-in classifier")
    parser.add_argument("--options", type=json.loads, default={}, help="options of the classifier, as JSON")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    part, test = load(args.source, args.dataset, args.half), load(args.source, args.dataset, "test")
    keep = first_of_each(part.labels, args.per_class)
    real = LabelledPixels(part.images[keep], part.labels[keep])
    rungs = [Rung("real", real)]
    if args.vae:
        rebuilt = reconstruct(args.vae, real.pixels, args.device)
        rungs.append(Rung("reconstructed", LabelledPixels(rebuilt, real.labels), psnr(real.pixels, rebuilt)))
    if args.synthetic:
        rungs.append(Rung("synthetic", read_synthetic(args.synthetic, real.pixels.shape[1:3])))

    component = {component.name: component for component in fgl_classifiers()}[args.classifier]
    classifier = TransformersClassifier(ClassifierOptions(**{**component.defaults, **args.options}))
    console = Console()
    for rung in rungs:
        for seed in range(args.seeds):
            with console.status(f"{rung.name}: training {seed + 1} of {args.seeds} on {len(rung.data)} images"):
                context = FitContext(tuple(part.class_names), seed, args.device, epochs=args.epochs)
                began = time.perf_counter()
                model = classifier.fit(rung.data, None, context)
                rung.seconds.append(time.perf_counter() - began)
                rung.top1.append(float((model.predict(test.images) == test.labels).mean()))
    show(console, args.dataset, len(test.labels), rungs)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record(args, component.name, classifier.options, rungs), indent=2) + "\n")


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Positions of the first `count` samples of each class, in order."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))


@torch.inference_mode()
def reconstruct(source: Path, pixels: np.ndarray, device: str) -> np.ndarray:
    """uint8 [n, h, w, 3] through the autoencoder at `source` and back; of a KL autoencoder, the mean."""
    model = load_autoencoder(source).eval().to(device)
    found = []
    for start in range(0, len(pixels), 64):
        batch = torch.from_numpy(pixels[start : start + 64]).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        encoded = model.encode(batch)
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        decoded = model.decode(latents).sample.clamp(-1, 1)
        found.append(((decoded + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(found)


def load_autoencoder(source: Path) -> torch.nn.Module:
    if source.is_dir():
        import diffusers

        name = json.loads((source / "config.json").read_text())["_class_name"]
        model: torch.nn.Module = getattr(diffusers, name).from_pretrained(source)
        return model
    config = yaml.safe_load((ROOT / "tools" / "train_tiny.yaml").read_text())["ae"]
    model = autoencoder(config["width"], config["latent_channels"])
    model.load_state_dict(torch.load(source, map_location="cpu", weights_only=True)["average"])
    return model


def read_synthetic(folder: Path, size: tuple[int, int]) -> LabelledPixels:
    """Every parquet file below `folder`, in order of name; images of another size are resized."""
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise SystemExit(f"{folder} holds no parquet files")
    images, labels = [], []
    for file in files:
        if not {"image", "label"} <= set(pq.read_schema(file).names):
            continue
        table = pq.read_table(file, columns=["image", "label"])
        labels += table.column("label").to_pylist()
        for cell in table.column("image").to_pylist():
            image = Image.open(io.BytesIO(cell["bytes"] if isinstance(cell, dict) else cell)).convert("RGB")
            if image.size != (size[1], size[0]):
                image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
            images.append(np.asarray(image))
    if not images:
        raise SystemExit(f"no parquet file below {folder} has columns image and label")
    return LabelledPixels(np.stack(images), np.asarray(labels, dtype=np.int64))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over images of the peak signal-to-noise ratio, dB."""
    error = ((a.astype(np.float32) - b.astype(np.float32)) ** 2).mean((1, 2, 3)).clip(min=1e-4)
    return float((10 * np.log10(255**2 / error)).mean())


def show(console: Console, dataset: str, tested: int, rungs: list[Rung]) -> None:
    table = Table(title=f"{dataset}: trained on each rung, tested on {tested} real images")
    for heading in ("trained on", "images", "top-1", "± over seeds", "ratio to real", "PSNR, dB", "seconds"):
        table.add_column(heading, justify="left" if heading == "trained on" else "right")
    ceiling = float(np.mean(rungs[0].top1))
    for rung in rungs:
        mean = float(np.mean(rung.top1))
        spread = f"{100 * np.std(rung.top1, ddof=1):.2f}" if len(rung.top1) > 1 else ""
        decibel = "" if rung.psnr is None else f"{rung.psnr:.2f}"
        values = (str(len(rung.data)), f"{100 * mean:.2f} %", spread, f"{mean / ceiling:.3f}", decibel)
        table.add_row(Text(rung.name), *values, f"{np.mean(rung.seconds):.1f}")
    console.print(table)


def record(args: argparse.Namespace, name: str, options: ClassifierOptions, rungs: list[Rung]) -> dict[str, object]:
    ceiling = float(np.mean(rungs[0].top1))
    return {
        "dataset": args.dataset,
        "half": args.half,
        "per_class": args.per_class,
        "seeds": args.seeds,
        "epochs": args.epochs or options.epochs,
        "classifier": name,
        "options": options.model_dump(mode="json"),
        "vae": args.vae and str(args.vae),
        "synthetic": args.synthetic and str(args.synthetic),
        "device": args.device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rungs": [
            {
                "name": rung.name,
                "images": len(rung.data),
                "top1": rung.top1,
                "mean_top1": float(np.mean(rung.top1)),
                "ratio_to_real": float(np.mean(rung.top1)) / ceiling if ceiling else math.nan,
                "psnr_db": rung.psnr,
                "seconds": rung.seconds,
            }
            for rung in rungs
        ],
    }


if __name__ == "__main__":
    main()
