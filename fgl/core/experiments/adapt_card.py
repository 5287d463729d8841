"""What an adaptation gave, and the card that goes with the adapted generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fgl.text import counted, markdown


@dataclass(frozen=True, slots=True)
class AdaptedData:
    """What the generator learned from."""

    name: str
    """Name of the dataset."""
    split: str
    """train or public."""
    digest: str
    """sha256 over everything that determines its samples."""
    license: str
    """As its source states it."""
    attribution: str
    """Whom to credit."""
    images: dict[str, int]
    """Class → images that were trained on."""
    held_out: int
    """Images that were not."""


@dataclass(frozen=True, slots=True)
class AdaptResult:
    """What `fgl adapt` prints with --json."""

    folder: str
    """Where everything is."""
    generator: str
    """Name of the generator that was adapted."""
    option: str
    """Option of the generator that takes the result: model or lora."""
    path: str
    """Value of that option."""
    base: dict[str, Any]
    """The model that was adapted, and a fingerprint of its denoiser."""
    base_license: str
    """Its license, as its card states it."""
    settings: dict[str, Any]
    """What was trained, and how."""
    data: AdaptedData
    """What it learned from."""
    prompt_strategy: str
    """Who wrote the captions."""
    captions: int
    """How many there are."""
    seed: int
    """Of the run."""
    device: str
    """Where it was trained."""
    bytes: int
    """Of what was trained, in float32."""
    steps: int
    """Optimizer steps."""
    selected_step: int
    """The step whose weights were kept: that of the lowest held-out loss, or the last."""
    minutes: float
    """Of training, summed over restarts, without decoding and samples."""
    history: list[dict[str, float]]
    """Entries with step, epoch, minutes, loss and held_out_loss."""
    digest: str
    """sha256 over the files that the generator takes."""

    def first_and_kept(self) -> tuple[float, float] | None:
        """Held-out loss of the generator as it was, and of what was kept; None where nothing was held out."""
        losses = {int(entry["step"]): entry["held_out_loss"] for entry in self.history if "held_out_loss" in entry}
        return (losses[0], losses[self.selected_step]) if 0 in losses and self.selected_step in losses else None


_KINDS = {
    "lora": "low-rank adapters (LoRA) beside frozen weights",
    "full": "all weights of the denoiser",
    "scratch": "all weights of the denoiser, from random ones",
}


def card(result: AdaptResult) -> str:
    """The README.md of the folder."""
    data, settings = result.data, result.settings
    kind = str(settings.get("kind", ""))
    of_class = ", ".join(f"{markdown(name)} {count:,}" for name, count in list(data.images.items())[:50])
    more = f" and {len(data.images) - 50} more classes" if len(data.images) > 50 else ""
    losses = result.first_and_kept()
    lines = [
        "---",
        "library_name: diffusers",
        "pipeline_tag: text-to-image",
        "---",
        f"# {markdown(result.base.get('model', result.generator))}, adapted to {markdown(data.name)}",
        "",
        "**Privacy.** A generator that was trained on images can repeat them, and these weights are as sensitive as "
        f"the {sum(data.images.values()):,} images that they were trained on. Where those are private, treat the "
        "weights as private. `fgl audit` looks for copies in a synthetic set that was made with them.",
        "",
        "| | |",
        "|---|---|",
        f"| base | {markdown(result.base.get('model', ''))}, license: {markdown(result.base_license)} |",
        f"| trained | {_KINDS.get(kind, markdown(kind))}, {result.bytes:,} bytes |",
        f"| data | {markdown(data.name)}, {data.split} split, license: {markdown(data.license)} |",
        *([f"| credit | {markdown(data.attribution)} |"] if data.attribution else []),
        f"| images | {of_class}{more}; {data.held_out:,} held out |",
        f"| captions | {counted(result.captions, 'text')} of the prompt strategy {markdown(result.prompt_strategy)} |",
        f"| training | {result.steps:,} steps in {result.minutes:.1f} minutes on {result.device}, seed {result.seed} |",
        f"| kept | step {result.selected_step:,} |",
        *([f"| held-out loss | {losses[0]:.4f} before, {losses[1]:.4f} after |"] if losses else []),
        f"| settings | {', '.join(f'{key} {value}' for key, value in settings.items())} |",
        f"| dataset digest | {data.digest} |",
        f"| digest | {result.digest} |",
        "",
        f"Use it in fgl as the option `{result.option}` of the generator `{result.generator}`: its value is the path "
        "of this folder.",
        "",
        "The licenses of the base and of the data both apply. The folder `checkpoints` is only needed to train on, and "
        "can be deleted.",
        "",
    ]
    return "\n".join(lines)
