"""Train the embedded foundation model `tiny`, one stage after another, each resumable.

    python tools/train_tiny.py all --source DATA --work .train --out fgl/plugins/generators/tiny
    python tools/train_tiny.py all --source DATA --work .train2 --start fgl/plugins/generators/tiny --minutes 120

The second line goes on from weights that were shipped.

Stages: judge (perceptual network), ae (autoencoder), unet (tokenizer, text encoder and denoiser), export; all of
these. distill trains a denoiser of few steps from what unet has left; it is not what ships (docs/benchmarks.md).
Every stage saves a checkpoint once a minute and goes on from it. Only the public half of the training images is used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import Tensor

from fgl.plugins.prompts.image_attributes import measure
from tools.tiny import captions, denoiser, nets, text
from tools.tiny.data import SYMMETRIES, load
from tools.tiny.denoiser import turn
from tools.tiny.distill import Distiller

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CONFIG = Path(__file__).with_name("train_tiny.yaml")


class Stage:
    """A checkpointed loop that lasts `minutes` of wall time, summed over restarts."""

    def __init__(self, name: str, work: Path, minutes: float) -> None:
        self.name, self.work, self.limit = name, work, minutes * 60
        self.path = work / f"{name}.pt"
        self.spent, self.step, self.saved = 0.0, 0, 0.0
        self.state: dict[str, Any] = {}
        if self.path.exists():
            self.state = torch.load(self.path, map_location="cpu", weights_only=True)
            self.spent, self.step = self.state["spent"], self.state["step"]
        self.start = time.monotonic() - self.spent
        self.saved = self.spent

    @property
    def progress(self) -> float:
        return min(1.0, self.spent / self.limit)

    def tick(self) -> None:
        """Count a step."""
        self.step += 1
        self.spent = time.monotonic() - self.start

    def due(self) -> bool:
        return self.spent - self.saved > 60 or self.spent >= self.limit

    def save(self, **state: Any) -> None:
        part = self.path.with_suffix(".part")
        torch.save({"spent": self.spent, "step": self.step, **state}, part)
        os.replace(part, self.path)
        self.saved = self.spent

    def log(self, **values: float) -> None:
        line = {"stage": self.name, "step": self.step, "minutes": round(self.spent / 60, 2)}
        line |= {key: round(float(value), 5) for key, value in values.items()}
        print(json.dumps(line), flush=True)
        with (self.work / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


class Sampler:
    """Batches of public images with random symmetries, mixed by the configured shares."""

    def __init__(self, parts: list[Any], shares: dict[str, float], device: torch.device, seed: int) -> None:
        self.rng = torch.Generator().manual_seed(seed)
        self.images = [torch.from_numpy(p.images).permute(0, 3, 1, 2).to(device) for p in parts]
        offset, self.labels, self.names = 0, [], []
        for part in parts:
            self.labels.append(torch.from_numpy(part.labels).to(device) + offset)
            offset += len(part.class_names)
            self.names.append(part.name)
        self.classes = offset
        self.shares = [shares[p.name] for p in parts]

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """uint8 -> float [size, 3, 32, 32] in -1..1, and class ids over all datasets."""
        xs, ys = [], []
        for images, labels, name, share in zip(self.images, self.labels, self.names, self.shares, strict=True):
            take = torch.randint(len(images), (round(size * share),), generator=self.rng).to(images.device)
            kind = int(torch.randint(SYMMETRIES[name], (1,), generator=self.rng))
            x = images[take]
            # Half of the batch keeps its orientation, so that every view is common in every batch.
            half = len(x) // 2
            xs += [turn(x[:half], kind), x[half:]]
            ys.append(labels[take])
        return torch.cat(xs).float().div(127.5).sub(1), torch.cat(ys)


def jitter(x: Tensor, rng: torch.Generator) -> Tensor:
    """Shift by up to 4 pixels, scale brightness and contrast, mirror: enough for the judge not to memorize."""
    dx, dy, flip = (int(torch.randint(n, (1,), generator=rng)) for n in (9, 9, 2))
    x = F.pad(x, (4, 4, 4, 4), mode="reflect")[:, :, dy : dy + 32, dx : dx + 32]
    gain = 1 + 0.4 * (torch.rand(len(x), 1, 1, 1, generator=rng) - 0.5)
    bias = 0.3 * (torch.rand(len(x), 1, 1, 1, generator=rng) - 0.5)
    x = x * gain.to(x.device) + bias.to(x.device)
    return x.flip(3) if flip else x


def train_judge(config: dict[str, Any], sampler: Sampler, work: Path, device: torch.device) -> nets.Judge:
    stage = Stage("judge", work, config["minutes"])
    judge = nets.Judge(sampler.classes).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), config["lr"], weight_decay=0.05)
    if stage.state:
        judge.load_state_dict(stage.state["judge"])
        optimizer.load_state_dict(stage.state["optimizer"])
    rng = torch.Generator().manual_seed(stage.step)
    while stage.progress < 1:
        for group in optimizer.param_groups:
            group["lr"] = config["lr"] * (1 - stage.progress) + 1e-5
        x, y = sampler.batch(config["batch"])
        with torch.autocast(device.type, torch.bfloat16):
            logits = judge(jitter(x, rng).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), y, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        stage.tick()
        if stage.step % 50 == 0:
            stage.log(loss=loss.item(), accuracy=(logits.argmax(1) == y).float().mean().item())
        if stage.due():
            stage.save(judge=judge.state_dict(), optimizer=optimizer.state_dict())
    return judge.eval().requires_grad_(False)


def train_autoencoder(
    config: dict[str, Any], sampler: Sampler, judge: nets.Judge, work: Path, device: torch.device, start: Path | None
) -> Any:
    """Minimise L1 + gradient + perceptual + adversarial loss, with latents pulled to zero mean and unit variance.

    Noise on the latents during training makes the decoder forgive the denoiser's small errors. The adversarial term
    is scaled so that its gradient at the last layer is `adversarial` times that of the others (Esser et al. 2021).
    start: a pipeline whose autoencoder to go on from.
    """
    stage = Stage("ae", work, config["minutes"])
    model = nets.autoencoder(config["width"], config["latent_channels"])
    if start is not None:
        model.load_state_dict(AutoencoderTiny.from_pretrained(start, subfolder="vae").state_dict())
    model = model.to(device, memory_format=torch.channels_last)
    critic = nets.Discriminator().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), config["lr"], betas=(0.9, 0.99), weight_decay=0.0)
    against = torch.optim.AdamW(critic.parameters(), config["lr"] / 2, betas=(0.5, 0.99), weight_decay=0.0)
    average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    if stage.state:
        model.load_state_dict(stage.state["model"])
        optimizer.load_state_dict(stage.state["optimizer"])
        critic.load_state_dict(stage.state["critic"])
        against.load_state_dict(stage.state["against"])
        average = stage.state["average"]
    last, scale = model.decoder.layers[-1].weight, 0.0
    while stage.progress < 1:
        warm = min(1.0, stage.step / 200)
        for group in optimizer.param_groups:
            group["lr"] = config["lr"] * warm * (0.5 + 0.5 * float(np.cos(np.pi * stage.progress))) + 1e-5
        adversarial = config["adversarial"] if stage.progress > config["adversarial_after"] else 0.0
        x, _ = sampler.batch(config["batch"])
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            z = model.encoder(x)
            noisy = z + config["latent_noise"] * torch.rand(len(z), 1, 1, 1, device=device) * torch.randn_like(z)
            y = model.decoder(noisy)
            perceptual = nets.perceptual_loss(judge, y, x)
            fool = -critic(y).mean() if adversarial else x.new_zeros(())
        y, z = y.float(), z.float()
        pixel = (y - x).abs().mean()
        edges = nets.gradient_loss(y, x)
        spread = z.mean((0, 2, 3)).square().mean() + (z.std((0, 2, 3)) - 1).square().mean()
        loss = pixel + config["edges"] * edges + config["perceptual"] * perceptual + config["spread"] * spread
        if adversarial:
            if stage.step % 20 == 0 or not scale:
                size, against_size = (
                    torch.autograd.grad(term, last, retain_graph=True)[0].norm() for term in (loss, fool.float())
                )
                scale = min(float(size / (against_size + 1e-6)), 10.0)
            loss = loss + adversarial * scale * fool
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if adversarial:
            with torch.autocast(device.type, torch.bfloat16):
                real, fake = critic(x), critic(y.detach())
            hinge = F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()
            against.zero_grad()
            hinge.backward()
            against.step()
        with torch.no_grad():
            keep = min(0.998, (stage.step + 1) / (stage.step + 10))
            for key, value in model.state_dict().items():
                average[key].lerp_(value, 1 - keep)
        stage.tick()
        if stage.step % 50 == 0:
            stage.log(
                loss=loss.item(),
                pixel=pixel.item(),
                edges=edges.item(),
                perceptual=perceptual.item(),
                spread=spread.item(),
                psnr=(-10 * ((y - x) / 2).square().mean((1, 2, 3)).log10()).mean().item(),
                fool=fool.item(),
                scale=scale,
            )
        if stage.due():
            stage.save(
                model=model.state_dict(),
                average=average,
                optimizer=optimizer.state_dict(),
                critic=critic.state_dict(),
                against=against.state_dict(),
            )
    model.load_state_dict(average)
    return model.eval().requires_grad_(False)


def prepare_text(
    config: dict[str, Any], parts: list[Any], work: Path, seed: int, start: Path | None
) -> tuple[Any, list[Tensor]]:
    """Tokenizer (that of `start`, or a new one), and for each dataset int16 token ids [n, pool, length] of its caption
    pool. Cached."""
    folder, cache = work / "tokenizer", work / "tokens.pt"
    if cache.exists():
        return text.CLIPTokenizer.from_pretrained(folder), list(torch.load(cache, weights_only=True).values())
    pools = {}
    for part in parts:
        labels = [part.class_names[label] for label in part.labels]
        pools[part.name] = captions.pool(labels, part.domains, measure(part.images), config["pool"], seed)
    everything = [line for lines in pools.values() for one in lines for line in one]
    if start is None:
        tokenizer = text.train_tokenizer(everything, config["vocabulary"], config["length"], folder)
    else:
        tokenizer = text.CLIPTokenizer.from_pretrained(start / "tokenizer")
        tokenizer.save_pretrained(folder)
    tokens = {}
    for name, lines in pools.items():
        flat = [line for one in lines for line in one]
        ids = tokenizer(flat, padding="max_length", truncation=True, max_length=config["length"]).input_ids
        tokens[name] = torch.tensor(ids, dtype=torch.int16).view(len(lines), config["pool"], -1)
    torch.save(tokens, cache)
    return tokenizer, list(tokens.values())


def train_denoiser(
    config: dict[str, Any],
    everything: dict[str, Any],
    vae: Any,
    parts: list[Any],
    work: Path,
    device: torch.device,
    start: Path | None,
) -> None:
    """Train text encoder and UNet together on v-prediction; what ships is their exponential moving average.

    The loss is the one that `fgl adapt --from-scratch` trains with; the loop is not, because that one trains a UNet
    beside a frozen text encoder, whose embeddings of the captions it is given as arrays (16 captions an image would be
    330 kB). Here the encoder is random too and learns with the UNet. Nor has it batches of several datasets by share,
    symmetries by dataset, timesteps as of `denoiser.steps_of`, Muon, or a rate that falls at the end.

    start: a pipeline whose weights to go on from, with an optimizer state of zero."""
    words = everything["text"]
    tokenizer, tokens = prepare_text(words, parts, work, everything["seed"], start)
    latents = denoiser.latents(vae, parts, work / "latents.pt", device)
    encoder = text.text_encoder(tokenizer, words["width"], words["layers"], words["length"]).to(device)
    model = denoiser.unet(config["widths"], config["layers"], latents[0].shape[2], words["width"])
    model = model.to(device, memory_format=torch.channels_last)
    both = torch.nn.ModuleList([encoder, model])
    if start is not None:
        encoder.load_state_dict(text.CLIPTextModel.from_pretrained(start / "text_encoder").state_dict())
        denoiser.adopt(model, UNet2DConditionModel.from_pretrained(start, subfolder="unet").state_dict())
    optimizer = denoiser.Optimizer(both, config["lr"], config["muon_lr"], config["weight_decay"])
    average = {key: value.detach().clone() for key, value in both.state_dict().items()}
    stage = Stage("unet", work, config["minutes"])
    if stage.state:
        both.load_state_dict(stage.state["model"])
        optimizer.load_state_dict(stage.state["optimizer"])
        average = stage.state["average"]
    fast = torch.compile(model) if config["compile"] else model
    learning = denoiser.learning(fast, vae, device)
    rng = torch.Generator().manual_seed(everything["seed"] + stage.step)
    batches = Batches(latents, tokens, denoiser.sizes(config["batch"], config["shares"]), device)
    losses: list[float] = []
    while stage.progress < 1:
        warm = min(1.0, stage.step / 300)
        z, ids = batches(rng)
        t = denoiser.steps_of(rng, len(z))[torch.randperm(len(z), generator=rng)]
        with torch.autocast(device.type, torch.bfloat16):
            hidden = encoder(ids).last_hidden_state
        loss = learning.loss(z, {"prompt_embeds": hidden}, rng, t).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        # Constant until `decay` of the time is left, then linearly to zero: longer runs can go on from its checkpoint.
        optimizer.step(warm * min(1.0, max(1 - stage.progress, 0.002) / config["decay"]))
        with torch.no_grad():
            keep = min(config["ema"], (stage.step + 1) / (stage.step + 10))
            values = list(both.state_dict().values())
            torch._foreach_lerp_(list(average.values()), values, 1 - keep)
        stage.tick()
        losses.append(loss.item())
        if stage.step % 50 == 0:
            stage.log(loss=sum(losses) / len(losses))
            losses.clear()
        if stage.due():
            stage.save(model=both.state_dict(), average=average, optimizer=optimizer.state_dict())


class Batches:
    """Latents in a random symmetry and one of their captions, from each dataset as many as `counts` says."""

    def __init__(self, latents: list[Tensor], tokens: list[Tensor], counts: list[int], device: torch.device) -> None:
        self.parts, self.device = list(zip(latents, tokens, counts, strict=True)), device

    def __call__(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """float32 [b, c, 8, 8] and int64 token ids [b, length]."""
        zs, ids = [], []
        for latent, token, count in self.parts:
            rows = denoiser.choose(rng, latent.shape[1], count)
            zs.append(latent[denoiser.choose(rng, latent.shape[0], count), rows])
            ids.append(token[rows, denoiser.choose(rng, token.shape[1], count)])
        z = torch.cat(zs).to(self.device).float().contiguous(memory_format=torch.channels_last)
        return z, torch.cat(ids).to(self.device).long()


def distill(
    config: dict[str, Any], everything: dict[str, Any], vae: Any, parts: list[Any], work: Path, device: torch.device
) -> None:
    """Train a student of few steps from the averaged denoiser; text encoder and autoencoder stay as they are."""
    words, shape = everything["text"], everything["unet"]
    tokenizer, tokens = prepare_text(words, parts, work, everything["seed"], None)
    latents = denoiser.latents(vae, parts, work / "latents.pt", device)
    encoder = text.text_encoder(tokenizer, words["width"], words["layers"], words["length"]).to(device)
    teacher, student = (
        denoiser.unet(shape["widths"], shape["layers"], latents[0].shape[2], words["width"]).to(
            device, memory_format=torch.channels_last
        )
        for _ in range(2)
    )
    trained = torch.load(work / "unet.pt", map_location=device, weights_only=True)["average"]
    torch.nn.ModuleList([encoder, teacher]).load_state_dict(trained)
    student.load_state_dict(teacher.state_dict())
    encoder.eval().requires_grad_(False)
    teacher.eval().requires_grad_(False)
    optimizer = denoiser.Optimizer(student, config["lr"], config["muon_lr"], config["weight_decay"])
    average = {key: value.detach().clone() for key, value in student.state_dict().items()}
    stage = Stage("distill", work, config["minutes"])
    if stage.state:
        student.load_state_dict(stage.state["model"])
        optimizer.load_state_dict(stage.state["optimizer"])
        average = stage.state["average"]
    fast, wise = (torch.compile(model) if shape["compile"] else model for model in (student, teacher))
    distiller = Distiller(denoiser.scheduler().alphas_cumprod.to(device), config["steps"], config["substeps"])
    rng = torch.Generator().manual_seed(everything["seed"] + 1 + stage.step)
    batches = Batches(latents, tokens, denoiser.sizes(shape["batch"], shape["shares"]), device)
    losses: list[Tensor] = []
    while stage.progress < 1:
        z, ids = batches(rng)
        t = distiller.times(len(z), rng).to(device)
        a, s = distiller.level(t)
        noisy = (a * z + s * torch.randn(z.shape, generator=rng).to(device)).float()
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                hidden = encoder(ids).last_hidden_state

                def guess(x: Tensor, now: Tensor, hidden: Tensor = hidden) -> Tensor:
                    x = x.contiguous(memory_format=torch.channels_last)
                    return wise(x, now.clamp(min=0), hidden).sample.float()

                target = distiller.target(noisy, t, guess)
            found = fast(noisy, t, hidden).sample.float()
        each = (found - target).square().mean((1, 2, 3))
        each.mean().backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step(min(1.0, stage.step / 100) * max(1 - stage.progress, 0.002))
        with torch.no_grad():
            keep = min(config["ema"], (stage.step + 1) / (stage.step + 10))
            torch._foreach_lerp_(list(average.values()), list(student.state_dict().values()), 1 - keep)
        stage.tick()
        losses.append(torch.stack([each.detach().mean(), each.detach()[t == 999].mean()]))
        if stage.step % 50 == 0:
            mean, first = torch.stack(losses).nanmean(0)
            stage.log(loss=mean, first=first)
            losses.clear()
        if stage.due():
            stage.save(model=student.state_dict(), average=average, optimizer=optimizer.state_dict())


def export(config: dict[str, Any], work: Path, out: Path, distilled: bool = False) -> None:
    """Write the averaged weights, whatever their training has reached, as a StableDiffusionPipeline in float16."""
    from diffusers import StableDiffusionPipeline

    words, shape = config["text"], config["unet"]
    tokenizer = text.CLIPTokenizer.from_pretrained(work / "tokenizer")
    encoder = text.text_encoder(tokenizer, words["width"], words["layers"], words["length"])
    model = denoiser.unet(shape["widths"], shape["layers"], config["ae"]["latent_channels"], words["width"])
    vae = nets.autoencoder(config["ae"]["width"], config["ae"]["latent_channels"])
    vae.load_state_dict(torch.load(work / "ae.pt", weights_only=True)["average"])
    torch.nn.ModuleList([encoder, model]).load_state_dict(torch.load(work / "unet.pt", weights_only=True)["average"])
    if distilled:
        model.load_state_dict(torch.load(work / "distill.pt", weights_only=True)["average"])
        scheduler = denoiser.few_step_scheduler()
    else:
        scheduler = denoiser.scheduler()
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=model,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(out, safe_serialization=True)
    for path in out.rglob("*.safetensors"):
        path.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["judge", "ae", "unet", "distill", "export", "all"])
    parser.add_argument("--source", type=Path, required=True, help="folder with <dataset>/{train,test}.parquet")
    parser.add_argument("--work", type=Path, default=Path(".train"))
    parser.add_argument(
        "--start", type=Path, help="pipeline to go on from: its autoencoder is kept, the rest trained on"
    )
    parser.add_argument("--minutes", type=float, help="of this stage (of unet, if all), instead of the configuration's")
    parser.add_argument("--out", type=Path, default=Path("fgl/plugins/generators/tiny"))
    parser.add_argument("--distilled", action="store_true", help="export: the denoiser of few steps instead")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    config = yaml.safe_load(CONFIG.read_text())
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    if args.stage == "export":
        export(config, args.work, args.out, args.distilled)
        return
    torch.manual_seed(config["seed"])
    device = torch.device(args.device)
    if args.minutes is not None:
        config[args.stage if args.stage in ("ae", "distill") else "unet"]["minutes"] = args.minutes
    parts = [load(args.source, name, "public") for name in config["shares"]]
    sampler = Sampler(parts, config["shares"], device, config["seed"])
    if args.stage == "distill":
        vae = nets.autoencoder(config["ae"]["width"], config["ae"]["latent_channels"]).to(device)
        vae.load_state_dict(torch.load(args.work / "ae.pt", map_location=device, weights_only=True)["average"])
        distill(config["distill"], config, vae.eval().requires_grad_(False), parts, args.work, device)
        return
    if args.start is not None and args.stage != "ae" and not (args.work / "ae.pt").exists():
        vae = AutoencoderTiny.from_pretrained(args.start, subfolder="vae").to(device).requires_grad_(False)
        torch.save({"average": vae.state_dict()}, args.work / "ae.pt")
    else:
        judge = train_judge(config["judge"], sampler, args.work, device)
        if args.stage == "judge":
            return
        vae = train_autoencoder(config["ae"], sampler, judge, args.work, device, args.start)
        if args.stage == "ae":
            return
    train_denoiser(config["unet"], config, vae, parts, args.work, device, args.start)
    if args.stage == "all":
        export(config, args.work, args.out)


if __name__ == "__main__":
    main()
