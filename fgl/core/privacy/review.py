"""The egress review: what a file that is to leave says, what an attacker makes of that very file, and whether the
site's own rules let it go."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.contracts.dataset import DatasetInfo
from fgl.core.client import egress, private_folder
from fgl.core.client.egress import Verdict
from fgl.core.client.spending import PrivacyLedger
from fgl.core.config import fit
from fgl.core.privacy import candidates, lookup
from fgl.core.wire import kinds
from fgl.core.wire.codecs import TEXT
from fgl.core.wire.upload import classes_digest

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload
    from fgl.contracts.codec import Codec
    from fgl.contracts.generator import Generator
    from fgl.contracts.progress import Progress
    from fgl.core.client.policy import Policy
    from fgl.core.client.spending import Entry
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.wire.kinds import Contents

APPROVE, REFUSE, NO_RULES = "approve", "refuse", "no rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What a number of the file is about, and how many images are behind it."""

    what: str
    """In words."""
    images: float
    """By the file's own account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What looking up the rows of the file gave."""

    rows: int
    """Rows that were looked up."""
    recovered: int
    """Rows whose text was found: to the letter where the client's own texts lie beside the file, else those to which a
    text is all but equal."""
    known: bool
    """Whether the client's own texts lay beside it."""
    tried: int
    """Texts that were tried one and all; grammars with more are searched beside them."""
    examples: list[str]
    """Some of the texts that were found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the client's ledger says of the file."""

    epsilon: float
    """Of this file alone."""
    in_all: float
    """Of all answers about these images up to it."""
    delta: float
    """At which both are stated."""
    level: str
    """What is protected: image or client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Everything that a person should know before a file leaves."""

    kind: str
    """What the file is."""
    client_id: str
    """Whose file it is."""
    run_id: str
    """For which run."""
    round: int
    """Of the run."""
    bytes: int
    """Of the file."""
    sha256: str
    """Of the file."""
    codec: str | None
    """In which its rows are; null where it has none."""
    says: list[str]
    """What is in it, in sentences."""
    rows: int
    """Rows of an upload; 0 where it is none."""
    rows_of_one_image: int
    """Rows that stand for a single image or less."""
    smallest_group: Group | None
    """The fewest images behind a number of it; null where no number counts images."""
    texts: list[str]
    """Prompts that can be read in it."""
    names: list[str]
    """Other free text in it, such as names of domains."""
    recovered: Recovered | None
    """What an attacker recovers; null where nothing was looked up."""
    not_recovered: str
    """Why nothing was looked up; empty where it was."""
    spent: Spent | None
    """What the ledger of this client says of it; null where it has no line of it."""
    rules: list[Verdict]
    """The rules of the site."""
    verdict: str
    """approve, refuse, or no rules."""


@dataclass(frozen=True)
class Attacker:
    """What a client knows of an attacker: the configuration that all share, and the generator that it names."""

    config: RunConfig
    manager: PluginManager
    info: DatasetInfo
    device: str
    progress: Progress

    @cached_property
    def generator(self) -> Generator:
        found: Generator = self.manager.create("generator", self.config.generator)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known at the client beside the file.

    config, policy: of its configuration files; None where none are given. private: the client's private folder beside
    the file, None where there is none. attack: whether the rows are to be looked up.
    """

    manager: PluginManager
    progress: Progress
    config: RunConfig | None = None
    policy: Policy | None = None
    class_names: Sequence[str] | None = None
    private: Path | None = None
    codecs: Mapping[str, Codec] | None = None
    attack: bool = True


def review(data: bytes, known: Known) -> Review:
    """Look a file through. Raises UploadError where it is of no kind that leaves a client, or not sound, StoreError
    and LedgerError where what lies beside it is damaged."""
    contents = kinds.find(data).read(data, known.class_names, known.codecs)
    recovered, why_not = _recovered(contents, known)
    spent = _spent(data, known.policy)
    smallest = min(contents.groups.items(), key=lambda item: item[1], default=None)
    rules = []
    if known.policy is not None:
        counts = None if recovered is None else (recovered.recovered, recovered.rows)
        rules = egress.judge(known.policy.rules.egress, contents, None if spent is None else spent.in_all, counts)
    place = contents.place
    return Review(
        kind=place.kind,
        client_id=place.client_id,
        run_id=place.run,
        round=place.round,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        codec=contents.codec,
        says=list(contents.says),
        rows=len(contents.images),
        rows_of_one_image=sum(count <= 1 + 1e-9 for count in contents.images),
        smallest_group=None if smallest is None else Group(what=smallest[0], images=smallest[1]),
        texts=list(contents.texts),
        names=list(contents.names),
        recovered=recovered,
        not_recovered=why_not,
        spent=spent,
        rules=rules,
        verdict=NO_RULES if not rules else APPROVE if all(one.allowed for one in rules) else REFUSE,
    )


def spent_on(entry: Entry) -> Spent:
    """What a line of the ledger says."""
    return Spent(epsilon=entry.epsilon, in_all=entry.epsilon_in_all, delta=entry.delta, level=entry.level)


def _spent(data: bytes, policy: Policy | None) -> Spent | None:
    """The ledger's line of a file."""
    entry = None if policy is None else PrivacyLedger(policy.ledger()).entry_of(data)
    return None if entry is None else spent_on(entry)


def _recovered(contents: Contents, known: Known) -> tuple[Recovered | None, str]:
    """What the attack gave, or why it was not made."""
    rows = contents.upload
    if rows is None:
        return None, "it has no rows that texts are encoded to"
    if contents.codec == TEXT:
        count = len(rows)
        examples = list(dict.fromkeys(prompt.text for prompt in rows.prompts))[:_SHOWN]
        return Recovered(rows=count, recovered=count, known=True, tried=0, examples=examples), ""
    if not known.attack:
        return None, "it was not asked for"
    if known.config is None:
        return None, "that needs the configuration: fgl client review FILE SHARED.yaml SITE.yaml"
    registry = known.manager.registry
    component = registry.find("generator", known.config.generator.name).component
    if fit.TEXT not in fit.accepts("generator", component):
        return (
            None,
            "its rows are no encodings of texts but statistics: of one image, its own features",
        )
    attacker = _attacker(rows, known, known.config)
    declared = attacker.generator.declare()
    if declared.encoder != rows.encoder:
        return None, "its text encoder is not that of the configuration's generator"
    tried = candidates.candidate_texts(attacker)
    found = lookup.look_up(attacker, [rows], tried)[rows.client_id]
    own = _own_texts(known.private, len(rows))
    right = [cosine >= lookup.SETTLED for cosine in found.cosine]
    if own is not None:  # both count: the texts beside it may be those of another upload
        right = [one or text == other for one, text, other in zip(right, own, found.texts, strict=True)]
    examples = list(dict.fromkeys(text for text, is_right in zip(found.texts, right, strict=True) if is_right))
    made = Recovered(
        rows=len(rows), recovered=sum(right), known=own is not None, tried=len(tried.texts), examples=examples[:_SHOWN]
    )
    return made, ""


_SHOWN = 10


def _attacker(rows: ClientUpload, known: Known, config: RunConfig) -> Attacker:
    options = config.dataset.options
    names = tuple(known.class_names or options.get("class_names") or ())
    called = options.get("prompt_names") or {}
    info = DatasetInfo(
        name="",
        class_names=names,
        domains=tuple(sorted({name for name in rows.domain if name})),
        digest=classes_digest(names),
        prompt_names=tuple(str(called.get(name, name)) for name in names) if isinstance(called, Mapping) else (),
    )
    device = known.manager.create("executor", config.executor).device(config.device)
    return Attacker(config, known.manager, info, device, known.progress)


def _own_texts(private: Path | None, rows: int) -> list[str] | None:
    """The texts that the client kept of this upload; None where they are not there, or of another one."""
    found = None if private is None else private_folder.texts(private)
    return found if found is not None and len(found) == rows else None
