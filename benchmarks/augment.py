"""Whether training is bound by the model or by augmentation: images a second of each, on one device.

    python benchmarks/augment.py --classifier small --source-size 32 --threads 2

Times, in turn and on the same random images: augmentation alone, the training step alone (forward, backward,
optimizer on images that are ready), and both. Keep only figures from an idle machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from fgl.plugins.classifiers import fgl_classifiers
from fgl.plugins.classifiers.architectures import build
from fgl.plugins.classifiers.augment import Augmenter
from fgl.plugins.classifiers.classifier import make_optimizer
from fgl.plugins.classifiers.model import Network
from fgl.plugins.classifiers.options import ClassifierOptions

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", default="small", help="a built-in classifier")
    parser.add_argument("--options", type=json.loads, default={}, help="options of the classifier, as JSON")
    parser.add_argument("--source-size", type=int, default=32, help="side of the images before augmentation, pixels")
    parser.add_argument("--seconds", type=float, default=3, help="for each measurement")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    component = {component.name: component for component in fgl_classifiers()}[args.classifier]
    options = ClassifierOptions(**{**component.defaults, **args.options})
    device = torch.device(args.device)
    network = Network(build(options, [str(index) for index in range(10)], 0), options, device)
    network.model.train()
    optimizer = make_optimizer(options, network.model)
    augmenter = Augmenter(options, options.image_size, device, 0, options.eval_resize)
    draw = torch.Generator().manual_seed(0)
    shape = (options.batch_size, args.source_size, args.source_size, 3)
    pixels = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8).to(device)
    labels = torch.randint(0, 10, shape[:1], generator=draw).to(device)
    ready = augmenter.train(pixels)

    def step(images: torch.Tensor) -> None:
        loss = F.cross_entropy(network.logits(images), labels, label_smoothing=options.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    rates = {
        "augmentation": rate(lambda: augmenter.train(pixels), options.batch_size, args.seconds, device),
        "training step": rate(lambda: step(ready), options.batch_size, args.seconds, device),
        "both": rate(lambda: step(augmenter.train(pixels)), options.batch_size, args.seconds, device),
    }
    threads = torch.get_num_threads()
    table = Table(title=f"{args.classifier}, {args.source_size} → {options.image_size} px, {device}, {threads} threads")
    table.add_column("what")
    table.add_column("images/s", justify="right")
    for what, value in rates.items():
        table.add_row(what, f"{value:,.0f}")
    Console().print(table)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        result = {"images_per_second": rates, "threads": threads, "device": str(device), "torch": torch.__version__}
        args.out.write_text(json.dumps({**result, "options": options.model_dump(mode="json")}, indent=2) + "\n")


def rate(work: Callable[[], object], images: int, seconds: float, device: torch.device) -> float:
    """Images a second of `work`, which handles `images` a call; the first two calls do not count."""
    for _ in range(2):
        work()
    wait(device)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        calls += 1
    wait(device)
    return calls * images / (time.perf_counter() - began)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
