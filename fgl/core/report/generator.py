"""What a generator says of itself, in words."""

from __future__ import annotations

from fgl.core.report.schema import ClientModel, RunReport
from fgl.text import markdown as md
from fgl.text import plain


def generator_section(report: RunReport) -> list[str]:
    """Lines of report.md: the generator, and the models that prompts came from."""
    about = report.generator | report.synthetic.notes
    # an option that is not set says nothing of these images; the configuration has them all
    lines = [
        f"- {md(_NAMES.get(key, _spaced(key)))}: {md(_value(key, value))}"
        for key, value in about.items()
        if value is not None
    ]
    for one in report.prompt_models:
        at = f", {md(one.repository)} at commit {md(one.commit)}" if one.commit else ""
        lines += [f"- prompts by {md(one.model)}{at}, license {md(one.license)}"]
    if report.client_model is not None:
        lines.append(f"- {_client_line(report.client_model)}")
    return ["## Generator", "", *lines]


def _client_line(loaded: ClientModel) -> str:
    if not loaded.parts:
        return "a client loads nothing of it: prompts are sent as texts"
    why = " (its prompt strategy uses the whole generator)" if loaded.whole else ""
    return (
        f"a client loads {md(', '.join(loaded.parts))}{why}: {loaded.parameters:,} parameters, {loaded.bytes:,} bytes "
        "of weights"
    )


def words(value: object) -> str:
    """A value as a person writes it, on one line: no braces, no None."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6f}".rstrip("0").rstrip(".") if abs(value) >= 1e-3 or value == 0 else f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{plain(_spaced(str(key)))} {words(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value)) or "none"
    return plain(value)


def _value(key: str, value: object) -> str:
    if key in ("image_size", "save_size") and isinstance(value, list | tuple):
        return f"{' × '.join(map(words, value))} pixels"
    if key == "guidance_scale" and isinstance(value, list | tuple):
        return f"{' to '.join(map(words, value))}, drawn for each image"
    return words(value)


_NAMES = {
    "image_size": "size of an image (height × width)",
    "num_inference_steps": "steps an image",
    "dtype": "number format",
    "lora": "LoRA",
    "lora_commit": "commit of the LoRA",
    "vae_slicing": "VAE in slices",
    "vae_tiling": "VAE in tiles",
    "workers": "processes that made the images",
    "batch_sizes": "sizes of batches, as memory ran out",
}
"""What an entry about the generator is called, where its key would not do."""


def _spaced(key: str) -> str:
    return key.replace("_", " ")
