"""Contact sheets: pictures of a run, side by side."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fgl import text
from fgl.core.synthesis.shards import read_shards

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels
    from fgl.contracts.generator import Shard
    from fgl.core.session import Session


_COLUMNS, _ROWS = 10, 3


def contact_sheets(session: Session, folder: Path, shards: Sequence[Shard]) -> list[Path]:
    """One PNG a class: the first synthetic images of it, shown at no less than 64 pixels each."""
    by_class: dict[int, list[Pixels]] = {}
    for row, pixels in read_shards(folder, shards):
        shown = by_class.setdefault(row["label"], [])
        if len(shown) < _COLUMNS * _ROWS:
            shown.append(pixels)
    paths = []
    for label, images in sorted(by_class.items()):
        path = session.run.path("sheets", f"{label:03d}-{slug(session.info.class_names[label])}.png")
        session.run.write(path, _sheet(images))
        paths.append(path)
    # of an earlier run in this folder, with other classes
    session.run.remove(*(path for path in session.run.owned("sheets") if path not in paths))
    return paths


def _sheet(images: Sequence[Pixels]) -> bytes:
    return grid(images, _COLUMNS)


def grid(images: Sequence[Pixels], columns: int) -> bytes:
    """PNG of images of one size, uint8 [h, w, 3], row by row, shown at no less than 64 pixels each."""
    height, width = images[0].shape[:2]
    scale = max(1, -(-64 // min(height, width)))
    rows = -(-len(images) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet)
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def slug(name: str) -> str:
    """A file name for a class, whatever it is called; the number before it keeps two classes apart."""
    return re.sub(r"[^\w-]+", "-", name, flags=re.UNICODE).strip("-")[:60] or "class"


SIDE, _GAP, _LINE = 64, 8, 13
Pair = tuple["Pixels", "Pixels", tuple[str, str]]
"""Two images, uint8 [h, w, 3], and two lines to put below them."""


def sheet(left: Sequence[Pair], right: Sequence[Pair]) -> bytes:
    """PNG, a pair a row, closest first: on the left synthetic | nearest real, on the right test | nearest real, with
    what they are above and class and distance below. Images are shown at no less than 64 pixels a side."""
    height, width = left[0][0].shape[:2]
    scale = max(1, -(-SIDE // min(height, width)))
    height, width = height * scale, width * scale
    row_height = height + 2 * _LINE + _GAP
    rows = max(len(left), len(right))
    canvas = np.full((rows * row_height + _LINE + 2 * _GAP, 4 * width + 7 * _GAP, 3), 255, dtype=np.uint8)
    places = ((left, _GAP, ("synthetic", "nearest real")), (right, 2 * width + 5 * _GAP, ("test", "nearest real")))
    for pairs, start, _ in places:
        for row, pair in enumerate(pairs):
            top = _LINE + 2 * _GAP + row * row_height
            for place, image in enumerate(pair[:2]):
                at = start + place * (width + _GAP)
                canvas[top : top + height, at : at + width] = image.repeat(scale, axis=0).repeat(scale, axis=1)
    picture = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(10)
    for pairs, start, heads in places:
        for place, head in enumerate(heads):
            draw.text((start + place * (width + _GAP), _GAP), cut(head, width, font), fill="black", font=font)
        for row, pair in enumerate(pairs):
            top = _LINE + 2 * _GAP + row * row_height + height
            for line, words in enumerate(pair[2]):
                draw.text((start, top + line * _LINE), cut(words, 2 * width, font), fill="black", font=font)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def cut(words: str, width: int, font: Any) -> str:
    """As much of a text as fits into `width` pixels."""
    words = text.plain(words, 200)
    while words and font.getlength(words) > width:
        words = words.rstrip("…")[:-1].rstrip() + "…" if len(words) > 2 else ""
    return words
