"""`fgl client review` and `fgl client approve`: what a file says before it leaves, and a signature that it was seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._console import shown, stdout_to_stderr
from fgl.commands._files import codecs_of, known_names, read
from fgl.commands._options import ConfigFlags, Json, config_flags
from fgl.commands._outgoing import Outgoing, SealTo
from fgl.commands._output import say, say_json
from fgl.commands._threads import Threads
from fgl.commands.client import configured
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, PolicyError, Problem, UploadFormatError, UploadSenderError
from fgl.text import counted, plain

if TYPE_CHECKING:
    from fgl.core.client.policy import Policy
    from fgl.core.privacy.review import Review

REFUSED = 9
"""Exit code where the site's rules do not let a file leave."""
_LISTED = 40
_File = Annotated[Path, typer.Argument(metavar="FILE", help="A file that is to leave.")]
_Config = Annotated[
    list[Path] | None,
    typer.Argument(metavar="SHARED.yaml SITE.yaml", help="As for fgl client prepare; SITE.yaml has the site's rules."),
]
_Private = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The client's private folder; default K.private beside the file.")
]
_Attack = Annotated[
    bool, typer.Option("--no-attack", help="Do not look its rows up; that loads the text encoder, and takes time.")
]


@config_flags("set_", "device")
def review_command(
    file: _File,
    config: _Config = None,
    *,
    private: _Private = None,
    no_attack: _Attack = False,
    flags: ConfigFlags,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Say what a file tells whoever has it, what can be recovered from it, and whether the site's rules let it leave.

    The rules are the section site.egress of SITE.yaml. Exit code 9 where one of them refuses."""
    from fgl.core.store.typed import to_json

    found, _, data, block = _reviewed(file, config or [], private, no_attack, flags, as_json)
    signed = _signed(data, block)
    if as_json:
        say_json({"file": str(file), **to_json(found), "signed": signed})
    else:
        _print(file, found, signed)
    _end(found)


@config_flags("set_", "device")
def approve_command(
    file: _File,
    config: _Config = None,
    *,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Private key of whoever approves.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, where site.egress.ask says that a person must.")] = (
        False
    ),
    private: _Private = None,
    no_attack: _Attack = False,
    seal_to: SealTo = None,
    flags: ConfigFlags,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Review a file, and sign that it may leave, into FILE.sig beside it. What the site's rules refuse is not signed.

    The signature of its sender stays as it is; a server may be told to take approved files alone."""
    from fgl.core.privacy.review import REFUSE
    from fgl.core.store.typed import to_json
    from fgl.core.wire import signatures

    outgoing = Outgoing.of(key, seal_to)
    outgoing.check(file)
    found, policy, data, block = _reviewed(file, config or [], private, no_attack, flags, as_json)
    signed = _signed(data, block)
    if not as_json:
        _print(file, found, signed)
    if wrong := next((one["wrong"] for one in signed if one["wrong"]), None):
        raise UploadSenderError(f"{wrong}; there is nothing to approve: write and sign the file again")
    allowed = found.verdict != REFUSE
    if allowed and policy is not None and policy.rules.egress.ask and not yes:
        _ask(as_json)
    sent = file
    if allowed:
        place = signatures.Place(kind=found.kind, run=found.run_id, client_id=found.client_id, round=found.round)
        made = signatures.sign(outgoing.key, data, place, signatures.APPROVAL)
        sent = outgoing.put(file, data, signatures.added(block, made, data), keep=True)
    if as_json:
        approved = {"approved": allowed, "approved_by": outgoing.public if allowed else None}
        say_json({"file": str(sent), **approved, "review": to_json(found)})
    elif allowed:
        say(f"approved by {outgoing.public}: {sent if sent != file else f'send {file}.sig with {file}'}")
    _end(found)


def _reviewed(
    file: Path, config: list[Path], private: Path | None, no_attack: bool, flags: ConfigFlags, quiet: bool
) -> tuple[Review, Policy | None, bytes, bytes | None]:
    """(the review, the site's policy, the file, its signature block)."""
    from fgl.core.privacy.review import Known, review
    from fgl.core.wire import envelopes, kinds
    from fgl.core.wire.disclosure import MAX_BYTES

    manager = PluginManager.load()
    policy, resolved = configured(manager, config, flags, simulate=False) if config else (None, None)
    data = read(file, MAX_BYTES)
    if envelopes.is_sealed(data):
        raise UploadFormatError(f"refused: {plain(file)} is sealed: only its server can open it; review it before")
    block = envelopes.raw(file, MAX_BYTES).block
    place = kinds.find(data).read(data, None, codecs_of(data)).place
    folders = (file.with_suffix(".private"), file.parent / f"{place.client_id}.private")
    beside = next((one for one in (folders if private is None else (private,)) if one.is_dir()), None)
    names = None if beside is None else known_names(beside)
    with stdout_to_stderr(), shown(quiet) as progress:
        known = Known(
            manager=manager,
            progress=progress,
            config=resolved,
            policy=policy,
            class_names=names,
            private=beside,
            codecs=codecs_of(data),
            attack=not no_attack,
        )
        return review(data, known), policy, data, block


def _signed(data: bytes, block: bytes | None) -> list[dict[str, Any]]:
    """Of each signature beside the file its role, its key and what is wrong with it, null where it is sound."""
    from fgl.core.wire import signatures

    def wrong(one: signatures.Signature) -> str | None:
        try:
            signatures.verify(one, data)
        except UploadSenderError as error:
            return str(error)
        return None

    try:
        listed = [] if block is None else signatures.read(block)
    except UploadSenderError as error:
        return [{"role": None, "key": None, "wrong": str(error)}]
    return [{"role": one.statement.role, "key": one.statement.key, "wrong": wrong(one)} for one in listed]


def _ask(as_json: bool) -> None:
    """Raises PolicyError where nobody says yes."""
    import sys

    if as_json or not sys.stdin.isatty() or not typer.confirm("May this file leave?", default=False):
        expected = "expected a person's yes: site.egress.ask is set; answer the question, or pass --yes"
        raise PolicyError([Problem("--yes", "nothing", expected)], COMMAND_LINE)


def _end(found: Review) -> None:
    from fgl.core.privacy.review import REFUSE

    if found.verdict == REFUSE:
        raise typer.Exit(REFUSED)


def _print(file: Path, found: Review, signed: list[dict[str, Any]]) -> None:
    run = f"the run {plain(found.run_id, 100)!r}" if found.run_id else "a run without an id"
    say(f"{plain(file)}: {found.kind} of {found.client_id}, for {run}, round {found.round}")
    say(f"size      {found.bytes:,} bytes; sha256 {found.sha256}")
    for one in signed:
        by = f"by {one['key']} ({one['role']})"
        say(f"signed    {one['wrong'] or by}")
    for sentence in found.says:
        say(f"holds     {plain(sentence)}")
    if found.rows:
        say(f"single    {found.rows_of_one_image:,} of {counted(found.rows, 'row')} stand for a single image")
    if found.smallest_group is not None:
        say(f"smallest  {found.smallest_group.images:g} {plain(found.smallest_group.what, 100)}")
    for kind, listed in (("text", found.texts), ("name", found.names)):
        for text in listed[:_LISTED]:
            say(f"{kind}      {plain(text)}")
        if len(listed) > _LISTED:
            say(f"          and {len(listed) - _LISTED:,} more (--json has them all)")
    _print_attack(found)
    if found.spent is None:
        say("epsilon   no ledger has a line of this file: nothing bounds what it says of an image")
    else:
        spent = f"{found.spent.epsilon:.4g} for this file, {found.spent.in_all:.4g} in all"
        say(f"epsilon   {spent}, at delta {found.spent.delta:g} (level {found.spent.level})")
    for rule in found.rules:
        say(f"rule      {rule.rule}: {'approved' if rule.allowed else 'refused'}: {rule.reason}")
    said = {"no rules": "the site has no rules of its own (site.egress); a person decides"}
    say(f"verdict   {said.get(found.verdict, found.verdict)}")


def _print_attack(found: Review) -> None:
    attack = found.recovered
    if attack is None:
        say(f"attack    not made: {found.not_recovered}")
        return
    if found.codec == "text":
        say("attack    none is needed: the prompts stand in the file")
        return
    how = "to the letter" if attack.known else "as far as can be told without the client's own texts"
    say(
        f"attack    the texts of {attack.recovered:,} of {counted(attack.rows, 'row')} were recovered, {how}, out of "
        f"{attack.tried:,} texts that were tried"
    )
    for text in attack.examples:
        say(f"          {plain(text)}")
