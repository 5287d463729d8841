"""A client's upload: samples → prompts → embeddings → bytes. Images and prompt texts stay here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load

from fgl.contracts.progress import NullProgress, Progress
from fgl.contracts.prompts import ClientContext, Encoded, Prepared, Prompt
from fgl.contracts.upload_filter import FilterContext
from fgl.core.client import policy, prepared, private_folder
from fgl.core.client.filtering import filtered
from fgl.core.client.private_folder import ERROR
from fgl.core.client.settling import Spent, record_upload
from fgl.core.client.site import site_of
from fgl.core.encoding import encode_once_warned, warn_of_cuts
from fgl.core.seeds import client_seed, filter_seed
from fgl.core.store.typed import to_json
from fgl.core.wire import identical_classes, upload, upload_reader
from fgl.core.wire.codecs import TEXT, no_texts
from fgl.errors import BrokenPluginError, ClassListError, ConfigError, FGLError, Problem, UploadError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.codec import Codec
    from fgl.contracts.generator import Footprint, Generator, UploadSchema
    from fgl.core.client.site import Site
    from fgl.core.registry import Entry
    from fgl.privacy.cost import Cost


@dataclass(frozen=True, slots=True)
class Draft:
    """An upload that is made and not yet written. class_names: in label order. held: samples of each class that the
    client holds. left_out: samples of its data that are not, by the split that they are in. loaded: what was needed of
    the generator; None where it does not tell. filters: names of the upload filters that were applied. codecs:
    those that may be in the upload, by name. is_encoded: whether each row is what the text encoder made of its text,
    whatever a filter did to it afterwards. spent: what its noise costs, one entry for each filter that drew any."""

    data: bytes
    prompts: list[Prompt]
    notes: Counter[str]
    dataset: Mapping[str, object]
    class_names: tuple[str, ...]
    held: list[int]
    left_out: Mapping[str, int]
    loaded: Footprint | None = None
    filters: tuple[str, ...] = ()
    codecs: Mapping[str, Codec] | None = None
    is_encoded: bool = True
    spent: tuple[Spent, ...] = ()


def prepare(payload: bytes, progress: Progress | None = None) -> bytes:
    """Samples → prompts → embeddings → the bytes of an upload.

    Loads this client's images, the tokenizer and the text encoder; never the denoiser. With the codec text the prompts
    are what is sent, and nothing of the generator is loaded unless the prompt strategy asks for it. Writes
    prompts.jsonl and summary.json to the private folder. Raises DataError where the client holds nothing, and
    PolicyError where the site does not allow what is asked."""
    asked = policy.allowed(strict_json.loads(payload), "upload")
    made = settled(asked, draft(asked, progress))
    keep(Path(asked["private"]), made)
    return made.data


def draft(asked: Mapping[str, Any], progress: Progress | None = None) -> Draft:
    """`prepare`, with nothing written but what the prompt strategy itself keeps. asked: a request that is allowed."""
    private, notes = Path(asked["private"]), Counter[str]()

    def note(kind: str, count: int) -> None:
        notes[kind] += count

    site = site_of(asked)
    if site.config.votes.rounds:
        expected = "expected 0: clients of this run vote, and send no upload beside it"
        raise ConfigError([Problem("votes.rounds", str(site.config.votes.rounds), expected)])
    client_id, round_number = asked["client_id"], asked["round"]
    options, images = site.config.upload, site.samples(client_id)
    entries = [site.strategy_entry, *(entry for entry, _ in site.filters)]
    unfit = [no_texts(entry.title) for entry in entries if "arrays" in entry.component.provides]
    if options.codec == TEXT and unfit:
        raise ConfigError(unfit)
    schema = None if options.codec == TEXT else site.declaration
    _ = site.loaded  # a model that cannot be pulled is an error before hours of captioning
    context = ClientContext(
        client_id=client_id,
        images=images,
        class_names=site.prompt_names,
        encode=lambda prompts: Encoded(*encode_once_warned(site.encoder, prompts)),
        seed=client_seed(site.config.seed, client_id, round_number),
        progress=progress or NullProgress(),
        device=asked["device"],
        private=private,
        note=note,
        domains=site.domains,
        declaration=schema,
        generator_name=site.config.generator.name,
        generator=lambda: _generator(site, site.strategy_entry),
        label_names=site.class_names,
    )

    spent: list[Spent] = []

    def spend(what: str, level: str, cost: Cost) -> None:
        spent.append(Spent(what, level, cost))

    norm = None if schema is None else getattr(site.generator, "feature_norm", None)

    def filter_context(place: int) -> FilterContext:
        return FilterContext(
            client_id=client_id,
            round=round_number,
            seed=filter_seed(site.config.seed, client_id, round_number, place),
            class_names=site.class_names,
            declaration=schema,
            private=private,
            device=asked["device"],
            progress=context.progress,
            note=note,
            spend=spend,
            feature_norm=norm,
        )

    with private_folder.private_files(private).host():  # a strategy may keep what took it long
        answer = _ask(site, context)
        prompts = _prompts(answer, site, images.labels)
        if not prompts:
            raise UploadError(f"the prompt strategy wrote no prompt for {client_id}")
        upload.check_prompts(prompts, client_id)
        made = _encoded(answer, prompts, site, schema, client_id, note)
        is_encoded = not (isinstance(answer, Prepared) and answer.arrays)
        made = filtered(site.filters, made, schema, site.class_names, filter_context)
    if site.filters:
        upload.check_prompts(made.prompts, client_id)
    sender = upload.UploadHeader(client_id, round_number, site.class_names, options.run_id)
    if schema is None:
        data = upload.encode_texts(sender, made.prompts)
    else:
        data = upload.encode(sender, schema, options.codec, made.prompts, made.arrays, made.indices, site.codecs)
    held = np.bincount(images.labels, minlength=len(site.class_names)).tolist()
    return Draft(
        data,
        list(made.prompts),
        notes,
        site.about,
        site.class_names,
        held,
        site.left_out,
        site.loaded,
        tuple(entry.component.name for entry, _ in site.filters),
        site.codecs,
        is_encoded and [prompt.text for prompt in made.prompts] == [prompt.text for prompt in prompts],
        tuple(spent),
    )


def settled(asked: Mapping[str, Any], made: Draft) -> Draft:
    """A draft whose bytes may leave: recorded in the client's ledger, or those that were recorded for the same
    question.

    The question is what a client is asked of its images, wherever, for whatever a server does with it: a run that
    differs in its classifier gets the same file. Raises BudgetError where the limit does not allow it."""
    data = record_upload(asked, site_of(asked), made.data, made.spent)
    return made if data == made.data else replace(made, data=data, prompts=_as_sent(made.prompts, data))


def _as_sent(prompts: list[Prompt], data: bytes) -> list[Prompt]:
    """Prompts with the weights of the upload that leaves: those of another draw of noise were never sent, and no ledger
    prices them. data: of the client's own ledger. Rows that this draw left out, or that one, have no prompt here."""
    sent = load(data)
    weights: dict[int, list[float]] = {}
    for class_id, weight in zip(sent["class_id"].tolist(), sent["weight"].tolist(), strict=True):
        weights.setdefault(class_id, []).append(weight)
    known = [one for one in prompts if weights.get(one.class_id)]
    return [replace(one, weight=float(weights[one.class_id].pop(0))) for one in known if weights[one.class_id]]


def _prompts(answer: Any, site: Site, labels: Labels) -> list[Prompt]:
    """The strategy's prompts, if they are what it promised. labels: of the client's samples."""
    whose, listed = site.strategy_entry.title, answer.prompts if isinstance(answer, Prepared) else answer
    prompts = prepared.checked_prompts(listed, site.class_names, whose)
    if prompts and "private_counts" not in site.strategy_entry.component.provides:
        prepared.check_counts(prompts, labels, site.class_names, whose)
    return prompts


def _encoded(
    answer: Any,
    prompts: list[Prompt],
    site: Site,
    schema: UploadSchema | None,
    client_id: str,
    note: Callable[[str, int], None],
) -> Prepared:
    """The prompts with their arrays: the strategy's own, or the encodings of the texts. schema: None where texts are
    sent, which have no arrays."""
    whose, has_arrays = site.strategy_entry.title, isinstance(answer, Prepared) and bool(answer.arrays)
    if schema is None:
        if has_arrays:
            raise ConfigError([no_texts(whose)])
        return Prepared(prompts, {})
    arrays: Mapping[str, Array]
    indices: Mapping[str, Array]
    if has_arrays:
        arrays, indices = prepared.checked_arrays(prompts, answer.arrays, answer.indices, schema, whose)
    else:
        arrays, indices = encode_once_warned(site.encoder, prompts)
        if cut := warn_of_cuts(site.encoder, prompts, client_id, site.class_names, quote=True):
            note("prompts_truncated", cut)
    if pairs := identical_classes.of_arrays(arrays, indices, [prompt.class_id for prompt in prompts]):
        raise ClassListError(identical_classes.told(pairs, site.class_names))
    return Prepared(prompts, arrays, indices)


def _generator(site: Site, entry: Entry) -> Generator:
    if "generator" not in entry.component.client_needs:
        raise BrokenPluginError(
            f'{entry.title} asks for the generator, which its component does not state: client_needs=("generator",)'
        )
    return site.generator


def keep(private: Path, made: Draft) -> None:
    """Write to the private folder what the client keeps of an upload."""
    private_folder.keep(
        private,
        made.prompts,
        {
            "prompts": len(made.prompts),
            "upload_bytes": len(made.data),
            "notes": dict(sorted(made.notes.items())),
            "class_names": list(made.class_names),
            **({} if made.is_encoded else {private_folder.ENCODED: False}),
            **to_json(upload_reader.account(made.data, made.codecs)),
        },
    )
    private_folder.private_files(private).remove(private / ERROR)


def _ask(site: Site, context: ClientContext) -> Any:
    try:
        answer = site.strategy.prompts(context)
        return answer if isinstance(answer, Prepared) else list(answer)  # a generator may raise as it is read
    except FGLError:
        raise
    except (Exception, SystemExit) as error:
        name = site.config.prompt_strategy.name
        raise BrokenPluginError(f"prompt strategy {name!r} raised {type(error).__name__}: {error}") from error
