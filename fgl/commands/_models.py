"""Which models, and which of their files, a name on the command line stands for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from glob import escape
from typing import TYPE_CHECKING

from fgl.commands._config import resolve
from fgl.commands._options import ConfigFlags
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, FGLError, Problem
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.contracts.options import ModelRef


# From a repository that no component describes: weights that run no code when they are opened, in one precision, and
# what goes with them. Nothing else: what another kind of file does to whoever opens it is unknown.
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
"""A repository with this file holds a diffusers pipeline, one folder per part."""
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
_LORA = "pytorch_lora_weights"  # what diffusers calls LoRA weights, which are not a copy of the parts


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says about a model."""

    name: str
    """A component, a Hub id, or for `fgl models verify` a folder."""
    revision: str | None = None
    """A branch, tag or commit, None for the default branch."""
    mirrors: tuple[str, ...] = ()
    """Hub ids, with @revision or without, in the order in which they are asked."""
    settings: tuple[str, ...] = ()
    """Assignments of --set."""

    def command(self, *, encoder_only: bool = False, update: bool = False) -> str:
        """The command that pulls exactly this."""
        from fgl.hub.messages import pull_command

        return pull_command(
            self.name, self.revision, self.mirrors, encoder_only=encoder_only, update=update, settings=self.settings
        )


def uses(given: Given, *, ask: bool = False, update: bool = False) -> list[ModelRef]:
    """The models that NAME stands for. ask: whether the Hub may be asked what a repository holds. Raises ConfigError if
    NAME stands for none."""
    from fgl.contracts.options import is_revision
    from fgl.core.footprint import needs_generator
    from fgl.errors import suggestion
    from fgl.hub.cache import is_hub_id

    manager, name, revision = PluginManager.load(), given.name, given.revision
    for flag, got in (("--revision", revision), *(("--mirror", mirror.partition("@")[2]) for mirror in given.mirrors)):
        if got and not is_revision(got):
            raise _refused(flag, quoted(got), "expected a branch, tag or commit, as git names them")
    if is_hub_id(name):
        if given.settings:
            raise _refused("--set", ", ".join(given.settings), "expected with a component's name, not with a Hub id")
        for mirror in given.mirrors:
            if not is_hub_id(mirror.partition("@")[0]):
                raise _refused("--mirror", repr(mirror), "expected a Hub id, owner/name, with @revision or without")
        return [_of_hub_id(given, manager, ask, update)]
    for flag, got, option in (
        ("--revision", revision, "revision=REV"),
        ("--mirror", ", ".join(given.mirrors), "mirrors=[OWNER/NAME]"),
    ):
        if got:
            raise _refused(flag, got, f"expected with a Hub id; a component has --set family.{option}")
    families = {entry.family for entry in manager.registry.all() if entry.component.name == name}
    if not families:
        names = sorted({component for _, component, _, _ in catalogue(manager)})
        expected = f"no such component{suggestion(name, names)}; these need a model: {', '.join(names)}"
        raise _refused("NAME", repr(name), f"{expected}; or a Hub id: owner/name")
    uses: list[ModelRef] = []
    for family in sorted(families):
        config, _ = resolve(manager, ConfigFlags(set_=list(given.settings)), [{family: {"name": name}}])
        selected = getattr(config, family)
        if selected.name != name:
            raise _refused("--set", f"{family}.name={selected.name}", f"expected {name}, which NAME selects")
        cls = manager.registry.options_class(manager.registry.find(family, name))
        models = cls(**selected.options).models()
        if family == "generator" and needs_generator(config, manager.registry):  # its clients need all of it
            models = tuple(replace(use, client_files=use.files) for use in models)
        uses += models
    if not uses:
        raise _refused("NAME", repr(name), "expected a component that needs a model; all of this one ships with it")
    return uses


def of_folder(given: Given) -> ModelRef:
    """A folder that the command line names. Raises ConfigError for options that a folder does not have."""
    from fgl.contracts.options import ModelRef

    for flag, got in (
        ("--revision", given.revision),
        ("--mirror", ", ".join(given.mirrors)),
        ("--set", ", ".join(given.settings)),
    ):
        if got:
            raise _refused(flag, got, f"expected with a component or a Hub id; {given.name} is a local folder")
    return ModelRef(given.name)


def file_patterns(use: ModelRef, encoder_only: bool) -> tuple[str, ...]:
    if not encoder_only:
        return use.files
    if not use.client_files:
        expected = (
            f"no --encoder-only for {use.model}: which of its files a client needs is unknown; name a component, "
            f"as in fgl models pull stable-diffusion --set generator.model={use.model} --encoder-only"
        )
        raise _refused("--encoder-only", "", expected)
    return use.client_files


def catalogue(manager: PluginManager) -> Iterator[tuple[str, str, ModelRef | None, str]]:
    """(family, component, model, "") for each model that an installed component needs by default; without a model, why
    that is unknown."""
    from fgl.contracts.options import ModelRef

    registry = manager.registry
    for entry in registry.all():
        component = entry.component
        try:
            cls = registry.options_class(entry)
            uses = cls(**component.defaults).models()
            if not all(isinstance(use, ModelRef) for use in uses):
                raise TypeError("models() returned something other than ModelRef")
        except FGLError as error:
            yield entry.family, component.name, None, str(error)
        except ValueError:  # required options are missing: it names no model by default
            continue
        except Exception as error:
            yield entry.family, component.name, None, f"{entry.distribution}: {type(error).__name__}: {error}"
        else:
            for use in uses:
                yield entry.family, component.name, use, ""


def _of_hub_id(given: Given, manager: PluginManager, ask: bool, update: bool) -> ModelRef:
    """A Hub id as given: its default branch if there is no --revision, whatever a component pins. If a component names
    it by default, the files that this component uses; otherwise those that can be opened without risk."""
    from fgl.contracts.options import ModelRef
    from fgl.hub import state

    known = [use for _, _, use, _ in catalogue(manager) if use is not None and use.model == given.name]
    model = ModelRef(given.name, given.revision, given.mirrors)
    if known:
        same = [use for use in known if use.revision == given.revision]
        chosen = replace((same or known)[0], revision=given.revision, mirrors=given.mirrors)
        if same and not given.mirrors:
            chosen = replace(chosen, mirrors=same[0].mirrors)
        if ask or given.revision is not None or state.state(chosen, ask=False).cache != "no":
            return chosen
        # the one that was pulled for a component, at the commit that it pins
        return next((use for use in known if state.state(use, ask=False).cache != "no"), chosen)
    names = state.paths(model, ask=ask, update=update)
    if names is None and ask and not _offline():  # then the pull says why
        return replace(model, files=(*_TAKEN, *_TWICE), client_files=_CLIENT)
    if names is None or _PIPELINE not in names:
        return replace(model, files=(*_TAKEN, *_TWICE))
    # Single files beside a pipeline's folders hold the same weights again.
    single = [name for name in names if "/" not in name and name.endswith(".safetensors")]
    left_out = tuple(f"!{escape(name)}" for name in single if not name.startswith(_LORA))
    return replace(model, files=(*_TAKEN, *_TWICE, *left_out), client_files=_CLIENT)


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _refused(key: str, got: str, expected: str) -> ConfigError:
    return ConfigError([Problem(key, got, expected)], COMMAND_LINE)
