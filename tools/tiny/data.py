"""Images for training `tiny`, and the one rule that splits them into a public and a private half.

The public half trains the generator; the private half is what simulated clients hold; the test split is seen by
neither. The rule: within each (domain, class), rows in file order alternate, even ones public, odd ones private.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

SIZE = 32
# Only these emoji styles carry a license that lets derived data ship with the package.
EMOJI_DOMAINS = ("fluent", "noto", "twemoji")
# EuroSAT has no up or down, so all eight symmetries of the square are views of it; clothes and emoji only mirror.
SYMMETRIES = {"eurosat": 8, "fashion_mnist": 2, "emoji": 2}


@dataclass(frozen=True)
class Part:
    """One half (or the test split) of one dataset.

    images: uint8 [n, 32, 32, 3]; labels: int64 [n]; domains: n strings, empty where the dataset has none.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    domains: list[str]
    class_names: list[str]


def fit(data: bytes) -> np.ndarray:
    """Decode to RGB and bring to 32x32: smaller images get a border of their corner colour, larger ones shrink."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if image.width < SIZE and image.height < SIZE:
        canvas = Image.new("RGB", (SIZE, SIZE), image.getpixel((0, 0)))
        canvas.paste(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2))
        image = canvas
    elif image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)


def load(source: Path, name: str, half: str) -> Part:
    """Read `half` ("public", "private" or "test") of the dataset `name` below the folder `source`."""
    meta = json.loads((source / name / "meta.json").read_text())
    table = pq.read_table(source / name / ("test.parquet" if half == "test" else "train.parquet"))
    labels = table.column("label").to_pylist()
    domains = table.column("domain").to_pylist() if "domain" in table.column_names else [""] * len(labels)
    seen: dict[tuple[str, int], int] = defaultdict(int)
    keep = []
    for row, key in enumerate(zip(domains, labels, strict=True)):
        if name == "emoji" and key[0] not in EMOJI_DOMAINS:
            continue
        seen[key] += 1
        if half == "test" or (seen[key] % 2 == 1) == (half == "public"):
            keep.append(row)
    column = table.column("image").take(keep).to_pylist()
    return Part(
        name,
        np.stack([fit(data) for data in column]),
        np.asarray([labels[row] for row in keep], dtype=np.int64),
        [domains[row] for row in keep],
        meta["class_names"],
    )
