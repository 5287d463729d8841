"""`fgl models …`: foundation models on this machine: what there is, what it would cost, whether it is intact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._config import resolve
from fgl.commands._console import interruptible, shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, Quiet
from fgl.commands._output import note, say, say_json
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ConfigError, FGLError, ModelError, Problem
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.contracts.options import ModelRef
    from fgl.hub.pulling import Plan
    from fgl.hub.state import State


# Of a repository that no component describes: weights that run no code when they are opened, in one precision, and what
# goes with them. Nothing else: what a file of another kind does to who opens it is not known.
_TAKEN = (
    "*.safetensors",
    "*.json",
    "*.txt",
    "*.md",
    "*.jinja",
    "*.spm",
    "*.tiktoken",
    "*vocab.bpe",
    "*tokenizer.model*",
    "*spiece.model",
    "*sentencepiece*.model",
    "*LICENSE",
    "*LICENCE",
    "*NOTICE",
)
_TWICE = ("!*.fp16.*", "!*.bf16.*", "!*.non_ema*")
_PIPELINE = "model_index.json"
"""A repository with this file holds a diffusers pipeline, one folder a part."""
_ENCODERS = tuple(f"{part}*/{kind}" for part in ("tokenizer", "text_encoder") for kind in _TAKEN)
# Both sides read the configurations of all parts.
_CLIENT = (
    _PIPELINE,
    "README.md",
    "*/config.json",
    "*/scheduler_config.json",
    "tokenizer*/*.model",
    *_ENCODERS,
    *_TWICE,
)
_LORA = "pytorch_lora_weights"  # what diffusers calls LoRA weights, which are no copy of the parts

Name = Annotated[str, typer.Argument(metavar="NAME", help="A component (fgl models list), or a Hub id: owner/name.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="family.option=value", help="The component's options, as for fgl run; repeatable."),
]
Revision = Annotated[
    str | None, typer.Option(metavar="REV", help="Branch, tag or commit; for a Hub id. Components have an option.")
]
Mirror = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OWNER/NAME[@REV]", help="A copy, asked where the Hub has no such model; for a Hub id; repeatable."
    ),
]
EncoderOnly = Annotated[
    bool, typer.Option("--encoder-only", help="What a client needs, without the half that makes images.")
]


def list_command(as_json: Json = False) -> None:
    """Print the components that need a model: what of it is in the cache, and what a pull would download."""
    from huggingface_hub import constants

    from fgl import hub
    from fgl.hub import messages, state

    ask, rows = True, []
    with stdout_to_stderr():
        for family, name, use, problem in _catalogue(PluginManager.load()):
            row: dict[str, Any] = {"name": name, "family": family, "problem": problem}
            if use is not None:
                if hub.is_local(use.model):
                    row |= _folder_row(use)
                else:
                    found = state.state(use, ask=ask, command=messages.pull_command(name))
                    if ask and not found.reachable:  # then not by another name either
                        note(f"note: {found.why}")
                        ask = False
                    row |= _row(use, found)
            rows.append(row)
    where = {"cache": constants.HF_HUB_CACHE, "endpoint": constants.ENDPOINT, "offline": constants.HF_HUB_OFFLINE}
    if as_json:
        say_json({**where, "models": rows})
        return
    for row in rows:
        if row["problem"]:
            say(f"{row['name']} ({row['family']}): {row['problem']}")
            continue
        say(f"{row['name']} ({row['family']}): {row['model']}")
        for key, text in _said(row):
            say(f"    {key:<9} {text}")
    say(f"cache: {where['cache']}")


def pull_command(
    name: Name,
    encoder_only: EncoderOnly = False,
    update: Annotated[
        bool, typer.Option("--update", help="Move the lock to the commit that the Hub has now, and pull that.")
    ] = False,
    revision: Revision = None,
    mirror: Mirror = None,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Download a model: sizes first, broken downloads are taken up again, checksums are compared."""
    from fgl import hub
    from fgl.hub import messages, pulling, state

    given = Given(name, revision, tuple(mirror or ()), tuple(set_ or ()))
    command = given.command(encoder_only=encoder_only, update=update)
    results = []
    with stdout_to_stderr():
        for use in uses(given, ask=True, update=update):
            if hub.is_local(use.model):
                results.append({**_folder_row(use), "downloaded": 0})
                continue
            plans: list[Plan] = []
            patterns = _patterns(use, encoder_only)
            with interruptible(Path(), command), shown(quiet) as progress:

                def announce(plan: Plan, plans: list[Plan] = plans) -> None:
                    plans.append(plan)
                    if not quiet:
                        _announce(plan)

                path = pulling.pull(
                    use.model,
                    use.revision,
                    patterns,
                    use.mirrors,
                    update=update,
                    progress=progress,
                    announce=announce,
                    command=command,
                )
            found = state.state(use, ask=False)
            downloaded = sum(plan.needed for plan in plans)
            row = {**_row(use, found), "commit": path.name, "folder": str(path)}
            results.append({**row, "downloaded": downloaded})
    if as_json:
        say_json({"models": results})
        return
    for row in results:
        if row["how"] == "folder":
            say(f"{row['model']}: a folder of yours, nothing to pull")
            continue
        got = f"{messages.size(row['downloaded'])} downloaded" if row["downloaded"] else "nothing to download"
        say(f"{row['repository']}: {got}, {_revision(row)}")
        say(row["folder"])


def path_command(
    name: Name,
    encoder_only: EncoderOnly = False,
    revision: Revision = None,
    mirror: Mirror = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Print the folder of a model that has been pulled. Nothing is asked of the network."""
    from fgl import hub
    from fgl.hub import state

    given = Given(name, revision, tuple(mirror or ()), tuple(set_ or ()))
    command = given.command(encoder_only=encoder_only)
    rows = []
    for use in uses(given):
        if hub.is_local(use.model):
            rows.append(_folder_row(use))
            continue
        folder = state.folder_of(use, _patterns(use, encoder_only), command)
        if folder is None:
            raise ModelError(f"model: {use.model} is not in the cache, or not whole: `{command}`")
        rows.append({**_row(use, state.state(use, ask=False)), "commit": folder.name, "folder": str(folder)})
    if as_json:
        say_json({"models": rows})
        return
    for row in rows:
        say(row["folder"])


def _catalogue(manager: PluginManager) -> Iterator[tuple[str, str, ModelRef | None, str]]:
    """(family, component, model, "") for each model that an installed component needs by default; or why it cannot be
    told."""
    from fgl.contracts.options import ModelRef

    registry = manager.registry
    for entry in registry.all():
        component = entry.component
        try:
            cls = registry.options_class(entry)
            uses = cls(**component.defaults).models()
            if not all(isinstance(use, ModelRef) for use in uses):
                raise TypeError("models() returned something else than ModelRef")
        except FGLError as error:
            yield entry.family, component.name, None, str(error)
        except ValueError:  # has options that must be given: it names no model by itself
            continue
        except Exception as error:
            yield entry.family, component.name, None, f"{entry.distribution}: {type(error).__name__}: {error}"
        else:
            for use in uses:
                yield entry.family, component.name, use, ""


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says of a model."""

    name: str
    revision: str | None = None
    mirrors: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def command(self, *, encoder_only: bool = False, update: bool = False) -> str:
        """What pulls just this."""
        from fgl.hub.messages import pull_command

        return pull_command(
            self.name, self.revision, self.mirrors, encoder_only=encoder_only, update=update, settings=self.settings
        )


def uses(given: Given, *, ask: bool = False, update: bool = False) -> list[ModelRef]:
    """The models that NAME stands for. ask: whether the Hub may be asked what is in one. Raises ConfigError where it
    stands for none."""
    from fgl.contracts.options import is_revision
    from fgl.errors import suggestion
    from fgl.hub.cache import is_hub_id

    manager, name, revision = PluginManager.load(), given.name, given.revision
    for flag, got in (("--revision", revision), *(("--mirror", one.partition("@")[2]) for one in given.mirrors)):
        if got and not is_revision(got):
            raise refused(flag, quoted(got), "expected a branch, tag or commit, as git names them")
    if is_hub_id(name):
        if given.settings:
            raise refused("--set", ", ".join(given.settings), "expected with a component's name, not with a Hub id")
        for mirror in given.mirrors:
            if not is_hub_id(mirror.partition("@")[0]):
                raise refused("--mirror", repr(mirror), "expected a Hub id, owner/name, with @revision or without")
        return [_of_hub_id(given, manager, ask, update)]
    for flag, got, option in (
        ("--revision", revision, "revision=REV"),
        ("--mirror", ", ".join(given.mirrors), "mirrors=[OWNER/NAME]"),
    ):
        if got:
            raise refused(flag, got, f"expected with a Hub id; a component has --set family.{option}")
    families = {entry.family for entry in manager.registry.all() if entry.component.name == name}
    if not families:
        names = sorted({component for _, component, _, _ in _catalogue(manager)})
        expected = f"no such component{suggestion(name, names)}; these need a model: {', '.join(names)}"
        raise refused("NAME", repr(name), f"{expected}; or a Hub id: owner/name")
    uses: list[ModelRef] = []
    for family in sorted(families):
        config, _ = resolve(manager, ConfigFlags(set_=list(given.settings)), [{family: {"name": name}}])
        selected = getattr(config, family)
        if selected.name != name:
            raise refused("--set", f"{family}.name={selected.name}", f"expected {name}, which NAME selects")
        cls = manager.registry.options_class(manager.registry.find(family, name))
        uses += cls(**selected.options).models()
    if not uses:
        raise refused("NAME", repr(name), "expected a component that needs a model; all of this one ships with it")
    return uses


def _of_hub_id(given: Given, manager: PluginManager, ask: bool, update: bool) -> ModelRef:
    """A Hub id as it is given: its default branch where there is no --revision, whatever a component pins. Of one that
    a component names by default, what that component takes; of any other, what can be opened without a risk."""
    from fgl.contracts.options import ModelRef
    from fgl.hub import state

    known = [use for _, _, use, _ in _catalogue(manager) if use is not None and use.model == given.name]
    asked = ModelRef(given.name, given.revision, given.mirrors)
    if known:
        same = [use for use in known if use.revision == given.revision]
        found = replace((same or known)[0], revision=given.revision, mirrors=given.mirrors)
        if same and not given.mirrors:
            found = replace(found, mirrors=same[0].mirrors)
        if ask or given.revision is not None or state.state(found, ask=False).cache != "no":
            return found
        # one that a component has pulled, at the commit that it pins
        return next((use for use in known if state.state(use, ask=False).cache != "no"), found)
    names = state.paths(asked, ask=ask, update=update)
    if names is None and ask and not _offline():  # then the pull says why
        return replace(asked, files=(*_TAKEN, *_TWICE), client_files=_CLIENT)
    if names is None or _PIPELINE not in names:
        return replace(asked, files=(*_TAKEN, *_TWICE))
    # Single files beside a pipeline's folders hold the same weights once more.
    single = [name for name in names if "/" not in name and name.endswith(".safetensors")]
    left_out = tuple(f"!{escape(name)}" for name in single if not name.startswith(_LORA))
    return replace(asked, files=(*_TAKEN, *_TWICE, *left_out), client_files=_CLIENT)


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def refused(key: str, got: str, expected: str) -> ConfigError:
    return ConfigError([Problem(key, got, expected)], "the command line")


def _patterns(use: ModelRef, encoder_only: bool) -> tuple[str, ...]:
    if not encoder_only:
        return use.files
    if not use.client_files:
        expected = (
            f"nothing of the kind for {use.model}: which of its files a client needs is not known; name a component, "
            f"as in fgl models pull stable-diffusion --set generator.model={use.model} --encoder-only"
        )
        raise refused("--encoder-only", "", expected)
    return use.client_files


def _announce(plan: Plan) -> None:
    from fgl.hub.messages import size

    lines = [f"{plan.model} at commit {plan.commit} ({plan.how}): {len(plan.missing)} of {len(plan.files)} files"]
    lines += [f"  {size(file.size):>10}  {file.path}" for file in plan.missing]
    whole = sum(file.size for file in plan.missing)
    begun = f" (another {size(whole - plan.needed)} is here already)" if whole > plan.needed else ""
    lines += [f"to download: {size(plan.needed)}{begun}", f"to {plan.folder}, {size(plan.free)} free"]
    for line in lines:
        note(line)


def _row(use: ModelRef, found: State) -> dict[str, Any]:
    """repository: where the model comes from, itself or a mirror. how: pinned, locked, none, or folder."""
    return {
        "model": use.model,
        "revision": use.revision,
        "mirrors": list(use.mirrors),
        "license": use.license,
        "repository": found.model,
        "how": found.how,
        "commit": found.commit,
        "cache": found.cache,
        "cached_bytes": found.cached,
        "client_bytes": found.client,
        "all_bytes": found.all,
        "why": found.why,
        "folder": None if found.folder is None else str(found.folder),
    }


def _folder_row(use: ModelRef) -> dict[str, Any]:
    return {"model": use.model, "how": "folder", "folder": str(Path(use.model).expanduser()), "license": use.license}


def _revision(row: dict[str, Any]) -> str:
    if row["how"] == "pinned":
        return f"pinned to {row['commit']}"
    if row["how"] == "locked":
        return f"locked to {row['commit']} on first pull"
    return "neither pinned nor locked: the first pull locks it"


def _said(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the list says of one model, line by line."""
    from fgl.hub.messages import size

    if row["how"] == "folder":
        yield "folder", row["folder"]
        return
    named = f"{row['revision']}: " if row["revision"] and row["how"] != "pinned" else ""
    yield "revision", named + _revision(row)
    if row["repository"] != row["model"]:
        yield "mirror", f"{row['repository']} is in the cache in its place"
    much = {"all": "all", "client": "what a client needs", "part": "a part", "no": "nothing"}[row["cache"]]
    yield "cache", f"{much}, {size(row['cached_bytes'])}" if row["cached_bytes"] else much
    if row["all_bytes"] is None:
        yield "download", f"size not known: {row['why'].partition(';')[0]}"
    else:
        client = "" if row["client_bytes"] is None else f"{size(row['client_bytes'])} for a client, "
        yield "download", f"{client}{size(row['all_bytes'])} for all"
    yield "license", row["license"]
