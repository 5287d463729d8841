"""The client's side of a run. What goes in and what comes out is bytes; images and prompt texts stay here."""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core import alike, files, keeping, policy, strict_json, upload
from fgl.core.boundary import contained
from fgl.core.codecs import TEXT
from fgl.core.config import resolve
from fgl.core.dividing import divide
from fgl.core.errors import BrokenPluginError, ClassListError, ClientFailedError, DataError, FGLError, UploadError, told
from fgl.core.manager import Manager
from fgl.core.registry import changed
from fgl.core.settings import RunConfig
from fgl.core.types import ClientContext, ImageSet, Progress, Prompt, Silent, Subset

if TYPE_CHECKING:
    from fgl.core.contracts import Classifier, Encoder, FeatureSpace, Generator
    from fgl.core.types import Array, Declaration, Labels

PREPARE = "fgl.core.client:answer"
ROUND = 0
ERROR = "error.txt"
"""In the private folder: why the client could not answer, for its own people."""

log = logging.getLogger(__name__)
_SHOWN = 60  # characters of a prompt that a warning quotes


def request(config: RunConfig, client_id: str, round_number: int, private: Path, device: str, data: str) -> bytes:
    """What the server asks of a client. private: the folder for what the client keeps. data: digest of the simulated
    dataset, so that clients of one process share what they loaded only while it is the same data."""
    return strict_json.dumps(
        {"config": config.to_dict(), "client_id": client_id, "round": round_number, "private": str(private),
         "device": device, "data": data}
    ).encode()  # fmt: skip


def answer(payload: bytes) -> bytes:
    """`prepare`, as a federation calls it."""
    asked = strict_json.loads(payload)
    return guarded(lambda: prepare(payload), asked["client_id"], policy.private_folder(asked))


def guarded(work: Callable[[], bytes], client_id: str, private: Path | None) -> bytes:
    """A client's work, as a federation calls it. What this raises crosses to the server: ClientFailedError, which says
    of what class the client's error was and nothing more. Its message, which may name files, goes to the client's log
    and private folder, where there is one."""

    def failed(error: BaseException) -> bytes:
        log.error("%s: %s", client_id, error if isinstance(error, FGLError) else repr(error))
        if private is not None:
            with suppress(OSError, FGLError):  # a full disk is not to hide what happened
                text = "".join(traceback.format_exception(error))
                keeping.private_files(private).write(private / ERROR, text.encode(errors="replace"))
        where = "" if private is None else f" and its private {ERROR}"
        raise ClientFailedError(f"{told(error)}; the message is in the client's log{where}") from None

    return contained(work, failed)


@dataclass(frozen=True, slots=True)
class Draft:
    """An upload that is made and not yet written. class_names: in label order. held: samples of each class that the
    client holds. left_out: samples of its data that are not, by the split that they are in."""

    data: bytes
    prompts: list[Prompt]
    notes: Counter[str]
    dataset: Mapping[str, Any]
    class_names: tuple[str, ...]
    held: list[int]
    left_out: Mapping[str, int]


def prepare(payload: bytes, progress: Progress | None = None) -> bytes:
    """Samples → prompts → embeddings → the bytes of an upload.

    Loads this client's images, the tokenizer and the text encoder; never the denoiser. With the codec text the prompts
    are what is sent, and nothing of the generator is loaded unless the prompt strategy asks for it. Writes
    prompts.jsonl and summary.json to the private folder. Raises DataError where the client holds nothing, and
    PolicyError where the site does not allow what is asked."""
    asked = policy.allowed(strict_json.loads(payload), "upload")
    made = draft(asked, progress)
    keep(Path(asked["private"]), made)
    return made.data


def draft(asked: Mapping[str, Any], progress: Progress | None = None) -> Draft:
    """`prepare`, with nothing written but what the prompt strategy itself keeps. asked: a request that is allowed."""
    private, notes = Path(asked["private"]), Counter[str]()

    def note(kind: str, count: int) -> None:
        notes[kind] += count

    site = site_of(asked)
    client_id, round_number = asked["client_id"], asked["round"]
    images = site.samples(client_id)
    context = ClientContext(
        client_id=client_id,
        images=images,
        class_names=site.class_names,
        encode=lambda prompts: encode_once_warned(site.encoder, prompts)[0],
        seed=client_seed(site.config.seed, client_id, round_number),
        progress=progress or Silent(),
        device=asked["device"],
        private=private,
        note=note,
        domains=site.domains,
    )
    with keeping.private_files(private).host():  # a strategy may keep what took it long
        prompts = _ask(site, context)
    if not prompts:
        raise UploadError(f"the prompt strategy wrote no prompt for {client_id}")
    upload.check_prompts(prompts, client_id)
    options = site.config.upload
    sender = upload.Sender(client_id, round_number, site.class_names, options.run_id)
    if options.codec == TEXT:
        data = upload.encode_texts(sender, prompts)
    else:
        arrays, indices = encode_once_warned(site.encoder, prompts)
        if cut := warn_of_cuts(site.encoder, prompts, client_id, site.class_names, quote=True):
            note("prompts_truncated", cut)
        if pairs := alike.of_arrays(arrays, indices, [prompt.class_id for prompt in prompts]):
            raise ClassListError(alike.told(pairs, site.class_names))
        data = upload.encode(sender, site.declaration, options.codec, prompts, arrays, indices)
    held = np.bincount(images.labels, minlength=len(site.class_names)).tolist()
    return Draft(data, prompts, notes, site.about, site.class_names, held, site.left_out)


def keep(private: Path, made: Draft) -> None:
    """Write to the private folder what the client keeps of an upload."""
    keeping.keep(
        private,
        made.prompts,
        {"prompts": len(made.prompts), "upload_bytes": len(made.data), "notes": dict(sorted(made.notes.items())),
         "class_names": list(made.class_names), **upload.account(made.data)},
    )  # fmt: skip
    keeping.private_files(private).remove(private / ERROR)


def write(made: Draft, file: Path, private: Path) -> None:
    """Write an upload for somebody to send, whole or not at all, and beside it what stays. Raises StoreError."""
    keep(private, made)
    files.make_folders(file.parent, file.parent)
    files.write(file, made.data)


def release() -> None:
    """Let go of what simulated clients have loaded: a captioning model has no business beside the denoiser."""
    _site.cache_clear()


def _ask(site: Site, context: ClientContext) -> list[Prompt]:
    try:
        return list(site.strategy.prompts(context))
    except FGLError:
        raise
    except (Exception, SystemExit) as error:
        name = site.config.prompt_strategy.name
        raise BrokenPluginError(f"prompt strategy {name!r} raised {type(error).__name__}: {error}") from error


def encode_once_warned(encoder: Encoder, prompts: Sequence[Prompt]) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    """`encoder.encode`, where `warn_of_cuts` will say, or has said, what is cut: an encoder may warn with every call,
    and cannot say whose prompts they are."""
    if not truncated(encoder, prompts):
        return encoder.encode(prompts)
    its_log, filter_ = logging.getLogger(type(encoder).__module__), _AsInfo()
    its_log.addFilter(filter_)
    try:
        return encoder.encode(prompts)
    finally:
        its_log.removeFilter(filter_)


def warn_of_cuts(
    encoder: Encoder, prompts: Sequence[Prompt], whose: str, class_names: Sequence[str], quote: bool
) -> int:
    """How many of the prompts the encoder cuts; a warning says so once, with one of them. whose: for the warning.
    quote: whether it may say what the prompt is."""
    count = truncated(encoder, prompts)
    if count:
        low, high = 0, len(prompts)
        while high - low > 1:  # halved, so that each prompt is looked at twice at most
            middle = (low + high) // 2
            low, high = (low, middle) if truncated(encoder, prompts[low:middle]) else (middle, high)
        example = prompts[low]
        text = example.text if len(example.text) <= _SHOWN else f"{example.text[:_SHOWN]}…"
        said = f" ({text!r})" if quote else ""
        log.warning(
            "%s: %d of %d prompts are longer than the text encoder takes, and their ends are cut, such as one of class "
            "%r%s: put what matters first, shorten them by the prompt strategy's options (docs/prompts.md, Length), or "
            "choose a generator that reads more",
            whose, count, len(prompts), class_names[example.class_id], said,
        )  # fmt: skip
    return count


def truncated(encoder: Encoder, prompts: Sequence[Prompt]) -> int:
    """`encoder.truncated`. Raises BrokenPluginError for an encoder of a plugin from before there was such a method."""
    if not hasattr(encoder, "truncated"):
        name = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
        raise BrokenPluginError(f"{name} has no method truncated: {changed('generator', 1)}")
    return encoder.truncated(prompts)


class _AsInfo(logging.Filter):
    """Makes information of warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            record.levelno, record.levelname = logging.INFO, "INFO"
        return record.levelno > logging.INFO or logging.getLogger(record.name).isEnabledFor(logging.INFO)


def client_seed(run_seed: int, client_id: str, round_number: int) -> int:
    digest = hashlib.sha256(f"{run_seed}/client/{client_id}/{round_number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Site:
    """What a client has loaded. Simulated clients of one process share it, as they share the machine."""

    def __init__(self, config: RunConfig, manager: Manager, device: str, data: str) -> None:
        self.config = config
        dataset = _dataset(strict_json.dumps([config.dataset.name, config.dataset.options], sort_keys=True), data)
        info = dataset.info()
        for note in info.notes if config.upload.clients is not None else ():  # else the run itself says so
            log.warning("%s: %s", info.name, note)
        self.class_names: tuple[str, ...] = info.class_names
        # A client with data of its own does not see which domains there are elsewhere.
        self.domains: tuple[str, ...] | None = info.domains if config.upload.clients is None else None
        self.about = {
            "name": info.name,
            "kind": config.dataset.name,
            "source": info.source,
            "skipped": len(info.skipped),
        }
        self.left_out = {
            name: len(images) for name in ("test", "public") if (images := dataset.split(name)) is not None
        }
        self.train = dataset.split("train")
        if self.train is None:
            raise DataError("the dataset has no train split: there is nothing that a client could hold (dataset.holds)")
        self.partition: dict[str, list[int]] = {}
        if config.upload.clients is None:
            self.partition = divide(manager, config, self.train)
        self.strategy: Any = manager.create("prompt_strategy", config.prompt_strategy)
        self.manager, self._device = manager, device

    # What a client with the codec text has no need of, and whose weights it must not pull.
    @cached_property
    def generator(self) -> Generator:
        found: Generator = self.manager.create("generator", self.config.generator)
        return found

    @cached_property
    def declaration(self) -> Declaration:
        return self.generator.declare()

    @cached_property
    def encoder(self) -> Encoder:
        return self.generator.encoder(self._device)

    @cached_property
    def classifier(self) -> Classifier:
        found: Classifier = self.manager.create("classifier", self.config.classifier)
        return found

    @cached_property
    def space(self) -> FeatureSpace:
        found: FeatureSpace = self.manager.create("features", self.config.features)
        return found

    def positions(self, client_id: str) -> Labels:
        """Which of the training samples the client holds. Raises DataError as `samples` does."""
        count = len(self.samples(client_id))
        mine = self.partition.get(client_id)
        return np.arange(count) if mine is None else np.array(mine, dtype=np.int64)

    def samples(self, client_id: str) -> ImageSet:
        """What the client holds: its part of the partition, or all, where the dataset is its own. Raises DataError."""
        known = self.partition if self.config.upload.clients is None else self.config.upload.clients
        if client_id not in known:
            raise DataError(f"there is no client {client_id!r}; there are {', '.join(list(known)[:20])}")
        return self.train if self.config.upload.clients is not None else Subset(self.train, self.partition[client_id])


def site_of(asked: Mapping[str, Any]) -> Site:
    """What a request of the server's needs. asked: its config, device and data, as in `request`."""
    return _site(strict_json.dumps(asked["config"], sort_keys=True), asked["device"], asked["data"])


@lru_cache(maxsize=1)
def _site(config: str, device: str, data: str) -> Site:
    manager = Manager.load()
    return Site(resolve([strict_json.loads(config)], manager.registry), manager, device, data)


@lru_cache(maxsize=1)
def _dataset(selected: str, data: str) -> Any:
    """Kept apart from the site: another prompt strategy over the same images does not read them again."""
    name, options = strict_json.loads(selected)
    return Manager.load().registry.create("dataset", name, options)
