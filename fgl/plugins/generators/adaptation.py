"""Trains a denoiser, or low-rank adapters of it, on captioned images (contract `Adaptation`)."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file

from fgl.errors import DataError, DivergedError, ModelError
from fgl.plugins.generators.adapter_batches import Batches, HeldOut, LatentCache
from fgl.plugins.generators.adapter_state import AdapterFit, arrays_of
from fgl.plugins.generators.adapter_weights import AdapterWeights, State, check_peft
from fgl.plugins.generators.lora import base_metadata
from fgl.plugins.generators.options import LORA_FILE
from fgl.plugins.generators.pipeline_parts import weight_files

if TYPE_CHECKING:
    from fgl.contracts.adaptation import AdaptContext, AdapterSpec, CaptionedImages
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import CheckpointName
    from fgl.plugins.generators.denoiser import DiffusionDenoiser
    from fgl.plugins.generators.model_folder import ModelFolder
    from fgl.plugins.generators.synthesizer import DiffusionSynthesizer

# Raise it when equal images, spec and seed would give other weights.
_METHOD = "fgl adaptation 1"
SMALL = 100_000_000
"""Denoisers of fewer parameters are trained like `tiny`, larger ones like Stable Diffusion."""
# (small, large): peak learning rates by kind of adapter, and images of a step.
_RATES = {"lora": (2e-3, 1e-4), "full": (3e-4, 1e-5), "scratch": (6e-4, 1e-4)}
_BATCH = (64, 4)
_WARMUP = 10  # steps
_CLIP = 1.0  # norm of a step's gradient


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What is adapted, and how to load it."""

    folder: ModelFolder
    """The pipeline's folder, with the denoiser's weights."""

    size: tuple[int, int]
    """(height, width) of its images, in pixels."""

    has_lora: bool
    """Whether the generator's options fuse a LoRA into it."""

    denoiser: Callable[[str], DiffusionDenoiser]
    """Loads its denoiser for training, on a device."""

    synthesizer: Callable[[str], DiffusionSynthesizer]
    """Loads what generates, on a device."""


class DenoiserAdaptation:
    """Trains with AdamW (Loshchilov and Hutter 2019) on the loss of `DiffusionDenoiser`, text encoder and autoencoder
    frozen. Latents are computed once and kept in memory, float32.

    Args:
        spec: What is trained, and how.
        base: The model.
    """

    def __init__(self, spec: AdapterSpec, base: BaseModel) -> None:
        self.spec, self._base = spec, base
        self._small = base.folder.parameters("unet") < SMALL
        # Rounds come back to the same clients: what they loaded and encoded is kept until this object goes.
        self._loaded: dict[str, tuple[DiffusionDenoiser, AdapterWeights]] = {}
        self._encoded: LatentCache = {}

    def check(self) -> None:
        """Raise ModelError if peft is missing, or if a LoRA would be trained beside another one."""
        if self.spec.kind != "lora":
            return
        check_peft()
        if self._base.has_lora:
            raise ModelError(
                "adaptation: a LoRA cannot be trained beside the one that the generator has (option lora); leave that "
                "out, or adapt with kind full, which keeps both in one model"
            )

    def image_size(self) -> tuple[int, int]:
        """(height, width), in pixels: the generator's, before save_size shrinks what is kept."""
        return self._base.size

    @property
    def lr(self) -> float:
        """Peak learning rate."""
        # one factor alone has to move further for the same change
        further = 2 if self.spec.kind == "lora" and self.spec.factors == "up" else 1
        return self.spec.lr or further * _RATES[self.spec.kind][not self._small]

    @property
    def batch_size(self) -> int:
        """Images of a step, where there are as many."""
        return self.spec.batch_size or _BATCH[not self._small]

    @property
    def _at_once(self) -> int:
        """Images of a batch without gradients."""
        return max(self.batch_size, _BATCH[not self._small])

    def settings(self) -> Mapping[str, object]:
        """What is trained and how, in full."""
        spec = self.spec
        return {
            "method": _METHOD,
            "kind": spec.kind,
            **({"rank": spec.rank, "factors": spec.factors} if spec.kind == "lora" else {}),
            "layers": spec.layers,
            "lr": self.lr,
            "batch_size": self.batch_size,
            "weight_decay": spec.weight_decay,
            "ema": spec.ema,
            "mirror": spec.mirror,
        }

    def base(self) -> Mapping[str, object]:
        """Name of the model, and sha256 over its denoiser: what an adapter of it is worth nothing without."""
        return {"model": self._base.folder.name, "unet": self._base.folder.unet_digest()}

    def initial(self, context: AdaptContext) -> TrainedDenoiser:
        """The model as it is, with low-rank pairs of no effect, or with random weights from the seed."""
        weights = self._weights(context)[1]
        state = weights.state()
        return TrainedDenoiser(self._base, weights, context.device, state, state, [])

    def restore(self, state: Mapping[str, Array], context: AdaptContext) -> TrainedDenoiser:
        """An adapter with this state. Raises ModelError if it does not fit."""
        weights = self._again(context)[1]
        kept = weights.tensors(state, "the state")
        return TrainedDenoiser(self._base, weights, context.device, kept, kept, [])

    def fit(self, train: CaptionedImages, held_out: CaptionedImages | None, context: AdaptContext) -> TrainedDenoiser:
        """Train; see the contract. The learning rate rises over the first steps and is then constant: with the moving
        average it need not fall, and a longer training resumes a shorter one."""
        if not len(train):
            raise DataError("there are no images to adapt to; expected at least one")
        if context.start is None:
            denoiser, weights = self._weights(context)
        else:
            denoiser, weights = self._again(context)
            weights.load(weights.tensors(context.start, "the state to start from"))
        deterministic = torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True
        )
        optimizer = torch.optim.AdamW(
            list(weights.named.values()), lr=self.lr, betas=(0.9, 0.99), weight_decay=self.spec.weight_decay, fused=True
        )
        fit = AdapterFit(weights, optimizer, weights.state() if self.spec.ema else None)
        if context.checkpoint is not None:
            fit.resume(context.checkpoint)
        with deterministic:
            tests = None if held_out is None or not len(held_out) else HeldOut(denoiser, held_out, self._at_once)
            batches = Batches(denoiser, train, self.batch_size, self.spec.mirror, self._encoded)
            self._train(denoiser, fit, batches, tests, context)
        last = fit.state()
        return TrainedDenoiser(self._base, weights, context.device, fit.selected or last, last, fit.history)

    def _weights(self, context: AdaptContext) -> tuple[DiffusionDenoiser, AdapterWeights]:
        self.check()
        denoiser = self._base.denoiser(context.device)
        module = denoiser.module
        if not self._small:
            module.enable_gradient_checkpointing()
        return denoiser, AdapterWeights(module, self.spec, context.seed)

    def _again(self, context: AdaptContext) -> tuple[DiffusionDenoiser, AdapterWeights]:
        """As `_weights`, loaded once, for trainings that start from a state."""
        if context.device not in self._loaded:
            self._loaded[context.device] = self._weights(context)
        return self._loaded[context.device]

    def _train(
        self,
        denoiser: DiffusionDenoiser,
        fit: AdapterFit,
        batches: Batches,
        tests: HeldOut | None,
        context: AdaptContext,
    ) -> None:
        clock, module = _Clock(context, batches.per_epoch, fit), denoiser.module
        named = list(fit.weights.named.values())
        total, seen = torch.zeros((), device=context.device), 0
        if tests is not None and not fit.history:
            self._test(fit, {"step": 0.0, "epoch": 0.0, "minutes": 0.0}, tests, context)
        module.train()
        with clock.track() as advance:
            while not clock.is_over() and not _is_waiting(fit, context):
                clock.begin()
                rng = torch.Generator().manual_seed(_seed(context.seed, fit.step + 1))
                latents, arrays, labels = batches(context.seed, fit.step, rng)
                each = denoiser.loss(latents, arrays, rng)
                loss = each.mean()
                plain = loss.detach()
                if context.hook is not None:
                    term = context.hook.loss(module, latents, each, labels)
                    loss = loss if term is None else loss + term
                lr = self.lr * min(1.0, (fit.step + 1) / _WARMUP)
                for group in fit.optimizer.param_groups:
                    group["lr"] = lr
                fit.optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(named, _CLIP)
                if context.hook is not None:
                    context.hook.gradients(module, lr)
                fit.optimizer.step()
                fit.step += 1
                fit.follow(self.spec.ema)
                total += plain * len(latents)
                seen += len(latents)
                clock.tick()
                if clock.is_over() or (context.evaluate_every and fit.step % context.evaluate_every == 0):
                    mean = float(total) / seen
                    total, seen = torch.zeros((), device=context.device), 0
                    self._note(fit, batches.per_epoch, mean, tests, context)
                    module.train()
                advance(f"loss {fit.history[-1]['loss']:.4f}" if fit.history and fit.history[-1]["step"] else "")
        fit.optimizer.zero_grad(set_to_none=True)
        module.train(False)

    def _note(self, fit: AdapterFit, per_epoch: int, loss: float, tests: HeldOut | None, context: AdaptContext) -> None:
        """Add an entry, select by it, and save the checkpoint."""
        if not math.isfinite(loss):
            raise DivergedError(f"adaptation diverged by step {fit.step} (loss {loss}): lower lr ({self.lr:g})")
        entry = {"step": float(fit.step), "epoch": fit.step / per_epoch, "minutes": fit.spent / 60, "loss": loss}
        self._test(fit, entry, tests, context)

    def _test(self, fit: AdapterFit, entry: dict[str, float], tests: HeldOut | None, context: AdaptContext) -> None:
        fit.optimizer.zero_grad(set_to_none=True)
        now = fit.state()
        if tests is not None:
            training = fit.weights.state()
            fit.weights.load(now)
            entry["held_out_loss"] = tests()
            fit.weights.load(training)
            fit.waited += 1
            if entry["held_out_loss"] < fit.best:
                fit.best, fit.waited, fit.selected = entry["held_out_loss"], 0, now
        fit.history.append(entry)
        if context.on_entry is not None:
            kept = TrainedDenoiser(self._base, fit.weights, context.device, fit.selected or now, now, fit.history)
            context.on_entry(entry, kept)
        if context.checkpoint is not None:
            context.checkpoint.save(fit.pack())


class TrainedDenoiser:
    """An adapter of a denoiser (contract `Adapted`)."""

    def __init__(
        self,
        base: BaseModel,
        weights: AdapterWeights,
        device: str,
        selected: State,
        last: State,
        history: Sequence[Mapping[str, float]],
    ) -> None:
        self._base, self._weights, self._device = base, weights, device
        self._states = {"selected": selected, "last": last}
        self._history = history

    def state(self, which: CheckpointName) -> Mapping[str, Array]:
        return arrays_of(self._states[which])

    def trained(self) -> Sequence[str]:
        return list(self._weights.named)

    def history(self) -> Sequence[Mapping[str, float]]:
        return list(self._history)

    def size_bytes(self) -> int:
        return sum(4 * weight.numel() for weight in self._weights.named.values())

    def synthesizer(self, which: CheckpointName) -> DiffusionSynthesizer:
        """The generator's synthesizer, whose denoiser has these weights."""
        made = self._base.synthesizer(self._device)
        made.load_denoiser(self._weights.merged(self._states[which]))
        return made

    def save(self, folder: Path, which: CheckpointName) -> Mapping[str, str]:
        """A LoRA as diffusers saves it, with the fingerprint of its base; or a whole pipeline, whose other parts are
        copied. Numbers have the dtype of the base's weights."""
        state = self._states[which]
        if self._weights.spec.kind == "lora":
            save_file(self._weights.lora(state), folder / LORA_FILE, base_metadata(self._base.folder))
            return {"lora": "."}
        source = self._base.folder
        for path in source.files():
            if not any(path.relative_to(source.path).match(pattern) for pattern in weight_files("unet")):
                copy = folder / path.relative_to(source.path)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        dtype = torch.float16 if source.dtypes("unet") == {"F16"} else torch.float32
        whole = self._weights.merged(state)
        if any(float(tensor.abs().max()) > torch.finfo(dtype).max for tensor in whole.values()):
            dtype = torch.float32
        tensors = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in whole.items()}
        save_file(tensors, folder / weight_files("unet")[0], {"format": "pt"})
        return {"model": "."}


class _Clock:
    """When a training ends."""

    def __init__(self, context: AdaptContext, per_epoch: int, fit: AdapterFit) -> None:
        lengths = [context.steps, None if context.epochs is None else context.epochs * per_epoch]
        self._steps = min((length for length in lengths if length is not None), default=None)
        self._seconds = None if context.minutes is None else context.minutes * 60
        if self._steps is None and self._seconds is None:
            raise ValueError("expected epochs, steps or minutes")
        self._context, self._fit = context, fit
        self._began = 0.0

    def is_over(self) -> bool:
        is_long = self._seconds is not None and self._fit.spent >= self._seconds
        return is_long or (self._steps is not None and self._fit.step >= self._steps)

    def begin(self) -> None:
        """A step begins. Only steps count: neither held-out losses nor what others do after an entry."""
        self._began = time.monotonic()

    def tick(self) -> None:
        """It has ended."""
        self._fit.spent += time.monotonic() - self._began

    def track(self) -> _Tracked:
        if self._steps is not None:
            return _Tracked(self._context, self._steps, "steps", lambda: self._fit.step)
        assert self._seconds is not None
        return _Tracked(self._context, round(self._seconds), "seconds", lambda: int(self._fit.spent))


class _Tracked:
    """A task in progress, of steps or of seconds."""

    def __init__(self, context: AdaptContext, total: int, unit: str, done: Callable[[], int]) -> None:
        self._done, self._reported = done, done()
        self._task: Any = context.progress.track(context.label, max(0, total - self._reported), unit)

    def __enter__(self) -> Callable[[str], None]:
        self._task = self._task.__enter__()
        return self._advance

    def __exit__(self, *error: object) -> None:
        self._task.__exit__(*error)

    def _advance(self, note: str) -> None:
        now = self._done()
        self._task.advance(now - self._reported, note)
        self._reported = now


def _is_waiting(fit: AdapterFit, context: AdaptContext) -> bool:
    """Whether the held-out loss has not fallen for long enough."""
    return context.patience is not None and fit.waited >= context.patience


def _seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0]) >> 1
