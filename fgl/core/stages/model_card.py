"""RUN/classifier/README.md: what the exported classifier is, for whoever gets the folder without the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fgl.contracts.product import SupportsProduct
from fgl.text import fenced, markdown, plain

if TYPE_CHECKING:
    from fgl.core.report.metrics import Scores
    from fgl.core.session import Session


_HEAD = """---
library_name: transformers
pipeline_tag: image-classification
tags: [image-classification, federated-learning, synthetic-data, fgl]
---

# Image classifier trained by fgl
"""

_USE = """
## Use

```python
from transformers import AutoImageProcessor, pipeline

# "pil": as measured, also where torchvision is installed
processor = AutoImageProcessor.from_pretrained(FOLDER, backend="pil")
classify = pipeline("image-classification", model=FOLDER, image_processor=processor)
classify("image.jpg")
```

Images are turned as their EXIF says, become RGB without transparency, their shorter side is resized to {resize} pixels
(bilinear, Pillow), and the middle {crop} × {crop} pixels are classified, in float32. Images of more than 8 bits a
channel have to be opened by `fgl.load_image(path)` first: Pillow alone would cut their values off.
"""


def _of_features(session: Session) -> list[str]:
    """How to use a classifier that reads features of images, and what of the head of the card is true of it."""
    assert isinstance(session.generator, SupportsProduct)
    described = json.dumps(dict(session.generator.feature_space()), sort_keys=True, allow_nan=False)
    return [
        "",
        "## Use",
        "",
        f"It reads features of images, {session.product.dtype} {list(session.product.shape)}, and no pixels: "
        "config.json says which file holds the weights and what to compute with them. The features are those of",
        "",
        *fenced(plain(described, 4000), "json"),
        "",
    ]


def card(session: Session, score: Scores, rounds: int) -> str:
    """score: see `metrics.measure`. rounds: of federated training after the one-shot model. Nothing of what a single
    client holds is in it."""
    info, config, how = session.info, session.config, session.preparation
    about = session.generator.describe()
    lines = [_HEAD] if session.yields_images else [_HEAD.replace("library_name: transformers\n", "")]
    # of a local model its name: where it lies is nobody's business
    model = str(about.get("model")).rstrip("/")
    if model.startswith((".", "/", "~")):
        model = model.rpartition("/")[2]
    source = f"{model} ({about.get('license', 'license not stated')})"
    lines += [
        f"Classifier {markdown(config.classifier.name)}, {len(info.class_names)} classes, trained on synthetic images "
        f"by {markdown(source)} from {markdown(config.prompt_strategy.name)} prompts of federated clients, without "
        "their images leaving them."
        if session.yields_images
        else f"Classifier {markdown(config.classifier.name)}, {len(info.class_names)} classes, on features of "
        f"{markdown(source)}, fitted to {markdown(session.product.kind)} that federated clients sent, without their "
        "images leaving them.",
    ]
    if rounds:
        lines += [
            "",
            f"Afterwards {rounds} round{'s' * (rounds > 1)} of {markdown(config.algorithm.name)} at the clients, on "
            "their own images.",
        ]
    lines += ["", "Classes: " + ", ".join(map(markdown, info.class_names)) + "."]
    lines += ["", "## Data", "", f"- {markdown(info.name)}, license: {markdown(info.license)}"]
    lines += [f"- {markdown(info.attribution)}"] if info.attribution else []
    lines += [_USE.format(resize=how.resize, crop=how.crop)] if session.yields_images else _of_features(session)
    lines += [
        "## Measured",
        "",
        f"On {score['images']:,} real test images of the same data, which no client holds:",
        "",
        "| top-1 | balanced accuracy | macro F1 | chance |",
        "|---|---|---|---|",
        f"| {score['top1']:.1%} | {score['balanced_accuracy']:.1%} | {score['macro_f1']:.3f} | "
        f"{1 / len(info.class_names):.1%} |",
        "",
        "| class | recall |",
        "|---|---|",
        *(f"| {markdown(name)} | {share:.1%} |" for name, share in score["per_class"].items()),
        "",
        "A classifier knows of a domain what the generator of its images knew: test it on images of your own before "
        "you rely on it. How it was made is no privacy guarantee: prompts and their embeddings describe images.",
        "",
    ]
    return "\n".join(lines)
