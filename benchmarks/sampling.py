"""Choose how `tiny` samples and how its images are learned from, without the test split.

    python benchmarks/sampling.py --source DATA --dataset eurosat --out FILE \\
        --try guidance=3,steps=8 --try guidance=1:3,steps=12 --try guidance=3,steps=8,noise=0.05

Each try is a whole one-shot run over the private half, tested on real images of the *public* half, which trained the
generator: so what is chosen here leans neither on the test split nor on anything that a run's result is measured with.
Keys: guidance (a number, or low:high), steps, images (a class), seed; any other key is an option of the classifier.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import fgl  # noqa: E402
from tools.tiny.data import load  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with <dataset>/{train,test}.parquet")
    parser.add_argument("--dataset", default="eurosat", choices=["eurosat", "fashion_mnist", "emoji"])
    parser.add_argument("--model", help="pipeline folder instead of the embedded one")
    parser.add_argument("--test-images", type=int, default=2000)
    parser.add_argument("--try", dest="tries", action="append", required=True, help="key=value,key=value")
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    args = parser.parse_args()
    console, found = Console(), []
    with tempfile.TemporaryDirectory() as folder:
        data = write(args.source, args.dataset, Path(folder) / "data", args.test_images)
        for text in args.tries:
            config = configure(text, data, args.model)
            # Tries that differ in the classifier alone share the images.
            images = {key: config[key] for key in ("seed", "generator", "synthesis")}
            name = hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()[:12]
            result = fgl.run(config, out=Path(folder) / name)
            one = {key: result["result"][key]["top1"] for key in ("selected", "last")}
            found.append({"try": text, **one, "seconds": result["seconds"]})
            console.print(f"{text}: selected {one['selected']:.1%}, last {one['last']:.1%}")
    if args.out is not None:
        command = " ".join(["python", "benchmarks/sampling.py", *sys.argv[1:]])
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"command": command, "tries": found}, indent=1) + "\n")


def configure(text: str, data: Path, model: str | None) -> dict[str, Any]:
    values = dict(pair.split("=", 1) for pair in text.split(","))
    generator: dict[str, Any] = {"name": "tiny"} if model is None else {"name": "tiny", "model": model}
    if "guidance" in values:
        bounds = [float(number) for number in values.pop("guidance").split(":")]
        generator["guidance_scale"] = bounds if len(bounds) == 2 else bounds[0]
    if "steps" in values:
        generator["num_inference_steps"] = int(values.pop("steps"))
    return {
        "seed": int(values.pop("seed", 100)),
        "dataset": {"name": "parquet", "path": str(data)},
        "generator": generator,
        "synthesis": {"images_per_class": int(values.pop("images", 160))},
        "classifier": {"name": "small", **{key: json.loads(value) for key, value in values.items()}},
        "baselines": "none",
    }


def write(source: Path, name: str, folder: Path, count: int) -> Path:
    """A parquet dataset whose training split is the private half and whose test split is taken from the public one."""
    folder.mkdir(parents=True)
    for split, half in (("train", "private"), ("test", "public")):
        part = load(source, name, half)
        # Every k-th, so that all classes and domains are there in their proportions.
        keep = range(len(part.labels)) if split == "train" else range(0, len(part.labels), len(part.labels) // count)
        table = {"image": [png(part.images[row]) for row in keep], "label": [int(part.labels[row]) for row in keep]}
        pq.write_table(pa.table(table), folder / f"{split}.parquet")
    (folder / "meta.json").write_text(json.dumps({"name": name, "class_names": part.class_names}))
    return folder


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
