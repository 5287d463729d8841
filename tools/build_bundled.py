"""Build the datasets that ship inside the package.

    python tools/build_bundled.py --source ../shared/data

Writes fgl/plugins/datasets/bundled/<name>/{private,public,test}.parquet and meta.json. The halves are those of
tools/tiny/data.py, so that no private or test image is one that the tiny generator was trained on. Run it again and
the same bytes come out, with the same Pillow.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.tiny.data import SIZE, Part, load  # noqa: E402

TARGET = ROOT / "fgl" / "plugins" / "datasets" / "bundled"
BUDGET = 20_000_000
HALVES = ("private", "public", "test")


@dataclass(frozen=True)
class Recipe:
    """per_class: images of each class by half; None takes all that there are. grey: stored in one channel."""

    title: str
    license: str
    attribution: str
    source: str
    per_class: dict[str, int] | None
    grey: bool = False


RECIPES = {
    "eurosat": Recipe(
        title="EuroSAT (RGB)",
        license="MIT",
        attribution=(
            "EuroSAT (Helber, Bischke, Dengel, Borth 2019), MIT license, (c) 2023 Patrick Helber. "
            "Contains modified Copernicus Sentinel data."
        ),
        source="https://github.com/phelber/EuroSAT",
        per_class={"private": 350, "public": 250, "test": 200},
    ),
    "fashion_mnist": Recipe(
        title="Fashion-MNIST",
        license="MIT",
        attribution="Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), MIT license, (c) 2017 Zalando SE.",
        source="https://github.com/zalandoresearch/fashion-mnist",
        per_class={"private": 300, "public": 300, "test": 200},
        grey=True,
    ),
    "emoji": Recipe(
        title="Emoji in three drawing styles",
        license="fluent: MIT; noto: Apache-2.0; twemoji: CC BY 4.0",
        attribution=(
            "Fluent Emoji (c) Microsoft Corporation, MIT license. Noto Emoji (c) Google LLC, Apache License 2.0. "
            "Twemoji (c) Twitter, Inc. and other contributors, CC BY 4.0 "
            "(https://creativecommons.org/licenses/by/4.0/). All scaled to 32x32 and put on white."
        ),
        source=(
            "npm emoji-datasource-google 16.0.0, emoji-datasource-twitter 16.0.0, fluentui-emoji 1.3.0; "
            "classes are merged Unicode emoji subgroups"
        ),
        per_class=None,
    ),
}


def encode(pixels: np.ndarray, grey: bool) -> tuple[bytes, str]:
    """The smaller of lossless WebP and optimised PNG, and its suffix. pixels: uint8 [32, 32, 3]."""
    image = Image.fromarray(pixels)
    if grey:
        assert (pixels == pixels[..., :1]).all(), "a grey dataset holds a coloured image"
        image = image.convert("L")
    webp, png = io.BytesIO(), io.BytesIO()
    image.convert("RGB").save(webp, "WEBP", lossless=True, quality=100, method=6)
    image.save(png, "PNG", optimize=True)
    data, suffix = min((webp.getvalue(), "webp"), (png.getvalue(), "png"), key=lambda pair: len(pair[0]))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), pixels), "not lossless"
    return data, suffix


def distinct(parts: dict[str, Part]) -> dict[str, list[int]]:
    """Positions to keep of each half, so that no picture is on two sides or twice on one.

    The whole public half counts, not just what ships of it: the generator was trained on all of it. Public wins over
    private and private over test, so that what is left in private and test has been seen by nobody before.
    """
    seen: set[bytes] = set()
    kept: dict[str, list[int]] = {}
    for half in ("public", "private", "test"):
        kept[half] = []
        for index, pixels in enumerate(parts[half].images):
            digest = hashlib.sha256(pixels.tobytes()).digest()
            if digest not in seen:
                seen.add(digest)
                kept[half].append(index)
    return kept


def first_of_each_class(part: Part, kept: list[int], per_class: int) -> list[int]:
    """The first `per_class` kept samples of each class, in file order (the source files are shuffled)."""
    count: Counter[int] = Counter()
    chosen = []
    for index in kept:
        label = int(part.labels[index])
        if count[label] < per_class:
            count[label] += 1
            chosen.append(index)
    short = [part.class_names[label] for label in range(len(part.class_names)) if count[label] < per_class]
    assert not short, f"fewer than {per_class} images of {short}"
    return chosen


def write(path: Path, name: str, half: str, part: Part, chosen: list[int], grey: bool) -> dict[str, int]:
    """Write one half as parquet that `datasets` opens with decoded images; return how often each format won."""
    images, formats = [], Counter[str]()
    for row, index in enumerate(chosen):
        data, suffix = encode(part.images[index], grey)
        formats[suffix] += 1
        images.append({"bytes": data, "path": f"{name}-{half}-{row:05d}.{suffix}"})
    features: dict[str, object] = {
        "image": {"_type": "Image"},
        "label": {"names": part.class_names, "_type": "ClassLabel"},
    }
    fields = [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("label", pa.int64()),
    ]
    columns: list[object] = [images, [int(part.labels[index]) for index in chosen]]
    if any(part.domains):
        features["domain"] = {"dtype": "string", "_type": "Value"}
        fields.append(pa.field("domain", pa.string()))
        columns.append([part.domains[index] for index in chosen])
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}
    schema = pa.schema(fields, metadata=metadata)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, fields, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd", use_dictionary=False)
    return dict(sorted(formats.items()))


def build(source: Path, name: str, recipe: Recipe) -> None:
    """Build one dataset."""
    parts = {half: load(source, name, half) for half in HALVES}
    kept = distinct(parts)
    folder = TARGET / name
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for half in HALVES:
        part = parts[half]
        chosen = kept[half]
        if recipe.per_class is not None:
            chosen = first_of_each_class(part, chosen, recipe.per_class[half])
        path = folder / f"{half}.parquet"
        formats = write(path, name, half, part, chosen, recipe.grey)
        by_class = Counter(part.class_names[int(part.labels[index])] for index in chosen)
        by_domain = Counter(part.domains[index] for index in chosen if part.domains[index])
        splits[half] = {
            "images": len(chosen),
            "by_class": {label: by_class[label] for label in part.class_names},
            "by_domain": dict(sorted(by_domain.items())),
            "dropped_duplicates": len(part.images) - len(kept[half]),
            "formats": formats,
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    amount = (
        "all images"
        if recipe.per_class is None
        else "the first {private}/{public}/{test} images".format(**recipe.per_class)
    )
    meta = {
        "name": recipe.title,
        "class_names": parts["private"].class_names,
        "domains": sorted(set(parts["private"].domains) - {""}),
        "license": recipe.license,
        "attribution": recipe.attribution,
        "source": recipe.source,
        "image_size": [SIZE, SIZE],
        "rows": (
            "Training file, within each (domain, class): rows in file order alternate, even ones public, odd ones "
            "private; the test file is the test split. Pictures whose 32x32 pixels were met before are dropped "
            f"(public before private before test). Of what is left, {amount} of each class in file order"
            + ("." if recipe.per_class is None else " (private/public/test).")
        ),
        "encoding": (
            "RGB, scaled to 32x32 with Lanczos (28x28 images get a border of 2), then lossless: of WebP (method 6) and "
            "optimised PNG the smaller; see tools/build_bundled.py"
        ),
        "splits": splits,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for half, facts in splits.items():
        print(
            name,
            half,
            facts["images"],
            "images,",
            facts["dropped_duplicates"],
            "duplicates dropped,",
            facts["bytes"],
            "B",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with <name>/{train,test}.parquet, meta.json")
    parser.add_argument("--only", choices=sorted(RECIPES), help="build this one and leave the others as they are")
    arguments = parser.parse_args()
    for name, recipe in RECIPES.items():
        if arguments.only in (None, name):
            build(arguments.source, name, recipe)
    total = sum(file.stat().st_size for file in TARGET.rglob("*") if file.is_file())
    print(f"total: {total / 1e6:.2f} MB of {BUDGET / 1e6:.0f} MB")
    if total > BUDGET:
        raise SystemExit("over budget: lower per_class")


if __name__ == "__main__":
    main()
