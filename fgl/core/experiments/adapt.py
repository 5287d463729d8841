"""Adapt a generator to images that are here, its owner's or public ones: `fgl adapt`.

DIR/model_index.json, unet/, …          the adapted pipeline (kind full or scratch), or
DIR/pytorch_lora_weights.safetensors    the adapter alone (kind lora)
DIR/README.md                           its card
DIR/adaptation.json                     data, settings and history, with a digest of itself
DIR/samples/step-*.png                  what it makes as it learns, a row a class
DIR/checkpoints/adapt/                  from which a longer training resumes
DIR/environment.json                    device and threads
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.adaptation import AdaptContext
from fgl.contracts.prompts import ClientContext, Encoded
from fgl.core import captions as captions_of_images
from fgl.core import model_digests, outputs
from fgl.core.adapters import adaptation_of, check_strategy
from fgl.core.client.captioning import asked
from fgl.core.config.paths import located
from fgl.core.data import decode
from fgl.core.encoding import encode_once_warned
from fgl.core.experiments.adapt_card import AdaptedData, AdaptResult, card
from fgl.core.experiments.adapt_samples import Samples
from fgl.core.preflight import check_declaration, check_prompts
from fgl.core.store.checkpoints import Checkpoints
from fgl.core.store.owned import digest_of, file_digest
from fgl.core.store.typed import from_json, to_json
from fgl.errors import ConfigError, DataError, Problem
from fgl.io import strict_json
from fgl.text import counted

if TYPE_CHECKING:
    from fgl.contracts.adaptation import Adaptation, Adapted, CaptionedImages
    from fgl.contracts.dataset import DatasetInfo, ImageSet
    from fgl.contracts.generator import Generator
    from fgl.contracts.progress import Progress
    from fgl.core.captions import Captions
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.store.run_dir import RunDir


log = logging.getLogger(__name__)
RECORD = "adaptation.json"
_FEWEST = 8
"""Held-out images below which no weights are selected by their loss."""


def adapt(
    config: RunConfig, manager: PluginManager, run: RunDir, progress: Progress, replace: bool = False
) -> AdaptResult:
    """Adapt the configuration's generator to its dataset, or resume, and write what a generator takes to a folder.

    run: of kind "adapted"; one that holds an adaptation of the same data, generator and settings is resumed. replace:
    whether another one is to make way. Raises FGLError."""
    config = located(config, manager.options)
    outputs.check(run, replace)
    outputs.check_beside(config, run.root)
    work = _Work.prepared(config, manager, progress)
    inputs = work.inputs()
    with run.lock():
        _claim(run, inputs, replace)
        run.write_json(run.path("environment.json"), {"device": work.device, **work.environment})
        return work.run(run, inputs)


def _claim(run: RunDir, inputs: Mapping[str, object], replace: bool) -> None:
    """Raises ConfigError where another adaptation lies in the folder and is not to be replaced."""
    before = run.read_sealed(run.path(RECORD))
    is_other = before is not None and before["inputs"] != strict_json.loads(strict_json.dumps(inputs))
    if is_other and not replace:
        expected = (
            "it holds an adaptation of other data or settings, or of another generator; expected another folder, or "
            "--replace, which first removes what fgl wrote there"
        )
        raise ConfigError([Problem("--out", str(run.root), expected)], "the command line")
    if is_other or outputs.must_make_way(run):
        outputs.clear(run)
    if before is None or is_other:
        run.write_sealed(run.path(RECORD), {"inputs": inputs})


@dataclass(frozen=True, slots=True)
class _Work:
    """Everything that an adaptation needs, checked; nothing is computed yet."""

    config: RunConfig
    manager: PluginManager
    progress: Progress
    info: DatasetInfo
    images: ImageSet
    generator: Generator
    adaptation: Adaptation
    device: str
    environment: Mapping[str, object]

    @classmethod
    def prepared(cls, config: RunConfig, manager: PluginManager, progress: Progress) -> _Work:
        dataset = manager.create("dataset", config.dataset)
        with progress.track("read the dataset", 1, "dataset") as task:
            info: DatasetInfo = dataset.info()
            task.advance()
        for note in info.notes:
            log.warning("%s: %s", info.name, note)
        split = config.adaptation.split
        images = dataset.split(split)
        if images is None:
            raise DataError(f"dataset {info.name} has no {split} split to learn from (adaptation.split)")
        captions_of_images.check_classes(images.labels, info.class_names, f"the {split} split of {info.name}")
        generator = manager.create("generator", config.generator)
        adaptation = adaptation_of(config, generator)
        check_declaration(config, manager, generator.declare())
        check_strategy(config, manager)
        check_prompts(config, manager, info)
        executor = manager.create("executor", config.executor)
        device = executor.device(config.device)
        return cls(config, manager, progress, info, images, generator, adaptation, device, dict(executor.environment()))

    def inputs(self) -> dict[str, object]:
        """All that determines the course of the training, but not its length."""
        config, options = self.config, self.config.adaptation
        files = self.manager.options("prompt_strategy", config.prompt_strategy).files()
        return {
            "dataset": self.info.digest,
            "split": options.split,
            "classes": self.info.class_names,
            "names": self.info.names_in_prompts,
            "generator": {"base": self.adaptation.base(), "encoding": dict(self.generator.encoding())},
            "settings": self.adaptation.settings(),
            "prompt_strategy": config.prompt_strategy.model_dump(),
            "prompt_files": {name: model_digests.of_path(name) for name in files},
            "captions": options.captions,
            "held_out": options.held_out,
            "evaluate_every": options.evaluate_every,
            "seed": config.seed,
            "device": self.device.split(":")[0],
        }

    def run(self, run: RunDir, inputs: Mapping[str, object]) -> AdaptResult:
        config, options = self.config, self.config.adaptation
        train, held_out, described = self._sets()
        checkpoint = Checkpoints(run, run.path("checkpoints", "adapt"), digest_of(inputs))
        samples = None
        if options.samples:
            encoder = self.generator.encoder(self.device)
            samples = Samples(run, encoder, self.info.class_names, described.prompts, options.samples, config.seed)

        def on_entry(entry: Mapping[str, float], adapted: Adapted) -> None:
            if samples is not None:
                samples.draw(int(entry["step"]), adapted)

        length: Any = options.length()
        adapted = self.adaptation.fit(
            train,
            held_out,
            AdaptContext(
                seed=config.seed,
                device=self.device,
                progress=self.progress,
                evaluate_every=options.evaluate_every,
                patience=None if held_out is None else options.patience,
                checkpoint=checkpoint,
                on_entry=on_entry,
                **length,
            ),
        )
        return self._write(run, inputs, adapted, train, held_out, len(described.prompts))

    def _sets(self) -> tuple[CaptionedImages, CaptionedImages | None, Captions]:
        config, options = self.config, self.config.adaptation
        encoder = self.generator.encoder(self.device)
        context = ClientContext(
            client_id="adapt",
            images=self.images,
            class_names=self.info.names_in_prompts,
            encode=lambda prompts: Encoded(*encode_once_warned(encoder, prompts)),
            seed=config.seed,
            progress=self.progress,
            device=self.device,
            domains=self.info.domains or None,
            declaration=self.generator.declare(),
            generator_name=config.generator.name,
        )
        ask = partial(asked, self.manager, config, self.manager.create("prompt_strategy", config.prompt_strategy))
        described = captions_of_images.captions(
            ask, context, encoder, self.generator.declare(), options.captions == "image"
        )
        pixels = decode(self.images, self.adaptation.image_size(), self.progress, "decode")
        rows, out = captions_of_images.held_out(self.images.labels, options.held_out, config.seed)
        if len(out) < _FEWEST:
            if options.held_out:
                log.warning(
                    "No weights are selected, the last ones count: %.0f%% of each class are %s in all, and a loss on "
                    "so few tells little (adaptation.held_out). All are trained on.",
                    100 * options.held_out,
                    counted(len(out), "image"),
                )
            rows, out = np.arange(len(self.images)), out[:0]
        return described.of(pixels, rows), described.of(pixels, out) if len(out) else None, described

    def _write(
        self,
        run: RunDir,
        inputs: Mapping[str, object],
        adapted: Adapted,
        train: CaptionedImages,
        held_out: CaptionedImages | None,
        prompts: int,
    ) -> AdaptResult:
        config, taken = self.config, dict[str, str]()

        def save(folder: Path) -> None:
            taken.update(adapted.save(folder, "selected"))

        written = run.write_folder(run.root, save)
        ((option, place),) = taken.items()
        history = [dict(entry) for entry in adapted.history()]
        losses = {entry["held_out_loss"]: entry["step"] for entry in history if "held_out_loss" in entry}
        counts = np.bincount(train.labels, minlength=len(self.info.class_names)).tolist()
        result = AdaptResult(
            folder=str(run.root),
            generator=config.generator.name,
            option=option,
            path=str(run.root if place == "." else run.path(place)),
            base=dict(self.adaptation.base()),
            base_license=str(self.generator.describe().get("license", "not stated")),
            settings=dict(self.adaptation.settings()),
            data=AdaptedData(
                name=self.info.name,
                split=config.adaptation.split,
                digest=self.info.digest,
                license=self.info.license,
                attribution=self.info.attribution,
                images=dict(zip(self.info.class_names, counts, strict=True)),
                held_out=0 if held_out is None else len(held_out),
            ),
            prompt_strategy=config.prompt_strategy.name,
            captions=prompts,
            seed=config.seed,
            device=self.device,
            bytes=adapted.size_bytes(),
            steps=int(history[-1]["step"]) if history else 0,
            selected_step=int(losses[min(losses)] if losses else history[-1]["step"] if history else 0),
            minutes=round(history[-1]["minutes"], 2) if history else 0.0,
            history=[{name: round(value, 5) for name, value in entry.items()} for entry in history],
            digest=digest_of({path.relative_to(run.root).as_posix(): file_digest(path) for path in written}),
        )
        run.write(run.path("README.md"), card(result).encode())
        run.write_sealed(run.path(RECORD), {"inputs": inputs, "result": to_json(result)})
        return result


def read(run: RunDir) -> AdaptResult | None:
    """What the last adaptation that came to its end in this folder gave, None where there is none."""
    record = run.read_sealed(run.path(RECORD))
    return None if record is None or "result" not in record else from_json(AdaptResult, record["result"])
