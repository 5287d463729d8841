"""Whether the chosen parts fit each other, told from what their components state. Nothing is imported or computed.

One rule: what a part hands on must be among what the next part accepts. Prompt strategies, baselines and the attack on
uploads hand prompts or arrays to the generator; the generator hands its product to the classifier, to the measure of
image quality and to the audit of memorization; rounds hand a model to the classifier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fgl.contracts.component import SELECTED_BY
from fgl.contracts.product import IMAGES
from fgl.core import baselines
from fgl.core.config.defaults import PLAIN_RULE
from fgl.errors import ConfigError, PluginError, Problem

if TYPE_CHECKING:
    from fgl.contracts.component import Component
    from fgl.core.config.schema import RunConfig
    from fgl.core.registry import Registry


TEXT, ROUNDS, DENOISER, NOISE = "text", "rounds", "denoiser", "noise"
_MARKS = ("arrays", "private_counts")
"""What a prompt strategy provides that is no name of arrays."""
_ACCEPTS: Mapping[str, tuple[str, ...]] = {"generator": (TEXT,), "classifier": (IMAGES, ROUNDS)}
"""Family → what a component accepts that does not say."""
_PROVIDES: Mapping[str, tuple[str, ...]] = {"prompt_strategy": (TEXT,), "generator": (IMAGES,)}
"""Family → what a component provides that does not say."""
_WORDS = {
    TEXT: "prompts to encode",
    IMAGES: "images",
    DENOISER: "work for its denoiser",
    ROUNDS: "a model to continue training, which rounds and their algorithms need",
}
_AUDITED = {"uploads": ("accepts", TEXT), "memorization": ("yields", IMAGES)}
"""Part of an audit → what it needs of the generator."""


def accepts(family: str, component: Component) -> tuple[str, ...]:
    return component.accepts or _ACCEPTS.get(family, ())


def provides(family: str, component: Component) -> tuple[str, ...]:
    """Names that the next part must accept."""
    names = tuple(name for name in component.provides if name not in _MARKS)
    return names or _PROVIDES.get(family, ())


@dataclass(frozen=True, slots=True)
class Handed:
    """Something that one part hands to another. key, value: where the configuration chooses the first. names: what it
    hands on. to: family of the second. rest: what else to choose, for the message."""

    key: str
    value: str
    names: tuple[str, ...]
    to: str
    rest: str = ""


def check(values: Mapping[str, Any], registry: Registry) -> list[Problem]:
    """Every misfit of a configuration. values: its sections by key, None where one is not valid."""
    chosen = _components(values, registry)
    handed = _handed(values, chosen, registry)
    problems = [problem for one in handed for problem in _misfits(one, chosen, registry)]
    problems += _filter_problems(values.get("upload"), chosen.get("prompt_strategy"), registry)
    problems += _uncounted(values, registry)
    generator = chosen.get("generator")
    for key, shown, needed in _of_product(values):
        if generator is not None and needed not in (given := provides("generator", generator)):
            expected = f"leave it out: it needs {needed}, and generator {generator.name!r} yields {', '.join(given)}"
            problems.append(Problem(key, shown, expected))
    return problems


def method_problems(config: RunConfig, methods: Iterable[tuple[str, bool]], registry: Registry) -> list[Problem]:
    """Misfits of methods of a comparison. methods: (name, whether it trains in rounds)."""
    chosen = _components({family: getattr(config, family) for family in _ACCEPTS}, registry)
    handed = []
    for name, in_rounds in methods:
        if in_rounds:
            handed.append(Handed("--methods", repr(name), (ROUNDS,), "classifier", "leave the method out"))
        elif name in baselines.BASELINES and (given := baselines.BASELINES[name].hands):
            handed.append(Handed("--methods", repr(name), given, "generator", "leave the method out"))
    return [problem for one in handed for problem in _misfits(one, chosen, registry)]


def unfit_parts(config: RunConfig, registry: Registry) -> dict[str, str]:
    """Parts of an audit that the run's generator has nothing for → why."""
    generator = registry.find("generator", config.generator.name).component
    sides = {"accepts": accepts("generator", generator), "yields": provides("generator", generator)}
    return {
        part: f"generator {generator.name!r} {side} {', '.join(sides[side])}, not {needed}"
        for part, (side, needed) in _AUDITED.items()
        if needed not in sides[side]
    }


def unfit_baselines(config: RunConfig, registry: Registry) -> list[str]:
    """Those of the run's baselines that its generator has nothing for."""
    accepted = accepts("generator", registry.find("generator", config.generator.name).component)
    return [name for name in config.baselines if not set(_of_baseline(name, registry)) <= set(accepted)]


def _handed(values: Mapping[str, Any], chosen: Mapping[str, Component], registry: Registry) -> Iterator[Handed]:
    strategy, generator = chosen.get("prompt_strategy"), chosen.get("generator")
    if strategy is not None:
        names, others = provides("prompt_strategy", strategy), _strategies_for(generator, registry)
        yield Handed("prompt_strategy", repr(strategy.name), names, "generator", others)
    if generator is not None:
        yield Handed("generator", repr(generator.name), provides("generator", generator), "classifier")
    for name in values.get("baselines") or () if not values.get("all_baselines") else ():
        if names := _of_baseline(name, registry):
            others = ", ".join(other for other in values["baselines"] if other != name)
            yield Handed("baselines", repr(name), names, "generator", f"use baselines=[{others}]")
    rounds, audit = values.get("rounds"), values.get("audit")
    if rounds is not None and rounds.count:
        yield Handed("rounds.count", str(rounds.count), (ROUNDS,), "classifier", "use rounds.count=0")
    if audit is not None and "uploads" in (audit.parts or ()):
        yield Handed("audit.parts", "'uploads'", (TEXT,), "generator", "leave it out")


def _filter_problems(upload: Any, strategy: Component | None, registry: Registry) -> Iterator[Problem]:
    """Upload filters that do not accept what the prompt strategy provides; each stands between it and the generator."""
    handed = () if strategy is None else provides("prompt_strategy", strategy)
    for selected in upload.chain() if upload is not None else ():
        with suppress(PluginError):
            accepted = registry.find("upload_filter", selected.name).component.accepts
            if accepted and not set(handed) <= set(accepted):
                expected = f"leave it out: it accepts {', '.join(accepted)}, and the prompt strategy hands on "
                yield Problem("upload.filters", repr(selected.name), expected + ", ".join(handed))


def _uncounted(values: Mapping[str, Any], registry: Registry) -> Iterator[Problem]:
    """What reads clients' images without a price, in a run whose uploads have one: an epsilon that leaves something out
    is none. Baselines are beside the run, and the statement says that they are not private."""
    rounds, adaptation, evaluation = (values.get(name) for name in ("rounds", "adaptation", "evaluation"))
    noisy = _noise_before_rounds(values, registry)
    private = rounds is not None and rounds.count and rounds.privacy is not None
    if private:
        yield from _private_rounds(values, bool(noisy), registry)
        noisy.append("rounds.privacy")
    if not noisy:
        return
    reads = [
        ("rounds.count", rounds is not None and not private and rounds.count, "0, or rounds.privacy"),
        ("adaptation.rounds", adaptation is not None and adaptation.rounds, "0"),
        ("evaluation.at_clients", evaluation is not None and evaluation.at_clients, "false"),
        (
            "evaluation.real",
            evaluation is not None and evaluation.quality and evaluation.real == "train" and evaluation.real,
            "test or public",
        ),
    ]
    for key, value, instead in reads:
        if value:
            expected = f"expected {instead}: it reads the clients' images without a price, and {noisy[0]} states one"
            yield Problem(key, str(value), expected)


def _noise_before_rounds(values: Mapping[str, Any], registry: Registry) -> list[str]:
    upload, votes = values.get("upload"), values.get("votes")
    noisy = [one.name for one in (upload.chain() if upload is not None else ()) if is_noise(one.name, registry)]
    if votes is not None and votes.rounds and votes.private:
        noisy.append("votes.epsilon" if votes.sigma is None else "votes.sigma")
    return noisy


def check_unpriced(config: RunConfig, registry: Registry, what: str) -> None:
    """Raises ConfigError where the configuration states what its clients' answers cost, of which `what` is none."""
    if noisy := _noise_before_rounds(dict(config), registry):
        expected = f"expected none: {what} reads the clients' images without a price, and {noisy[0]} states one"
        raise ConfigError([Problem(noisy[0], "a price", expected)])


def _private_rounds(values: Mapping[str, Any], beside: bool, registry: Registry) -> Iterator[Problem]:
    """What `rounds.privacy` does not go with. beside: whether what clients send before the rounds has a price."""
    rounds, algorithm = values["rounds"], values.get("algorithm")
    if not beside:
        expected = (
            "expected uploads with a price as well: a filter that adds noise for whole clients (upload.filters: "
            "[{name: gaussian-noise, level: client, epsilon: 8}]), or private votes in their place"
        )
        yield Problem("rounds.privacy", "uploads without noise", expected)
    if rounds.start == "auto":
        yield Problem("rounds.start", "auto", "expected one-shot or scratch: to choose, clients send exact counts")
    if rounds.rule().name != PLAIN_RULE:
        expected = f"expected {PLAIN_RULE}: noise of a stated size is for a sum, and other rules would cut into it"
        yield Problem(SELECTED_BY["aggregation_rule"], rounds.rule().name, expected)
    with suppress(PluginError):
        if algorithm is not None and NOISE not in registry.find("algorithm", algorithm.name).component.accepts:
            entries = (entry for entry in registry.all() if entry.family == "algorithm")
            fitting = ", ".join(sorted(entry.component.name for entry in entries if NOISE in entry.component.accepts))
            expected = f"expected {fitting}: its clients send or keep more than their model, which nothing noises"
            yield Problem("algorithm", repr(algorithm.name), expected)


def is_noise(name: str, registry: Registry) -> bool:
    """Whether an upload filter makes what it returns private, at a price that the client's ledger records."""
    with suppress(PluginError):
        return NOISE in registry.find("upload_filter", name).component.provides
    return False


def _of_baseline(name: str, registry: Registry) -> tuple[str, ...]:
    """What a baseline hands to the generator."""
    try:
        if name.startswith(baselines.PROMPTS):
            component = registry.find("prompt_strategy", name.removeprefix(baselines.PROMPTS)).component
            return provides("prompt_strategy", component)
        return baselines.find(name).hands
    except (PluginError, KeyError):  # reported where the name is checked
        return ()


def _of_product(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(key, value, kind of product that it needs)."""
    evaluation, audit = values.get("evaluation"), values.get("audit")
    if evaluation is not None and evaluation.quality:
        yield "evaluation.quality", "true", IMAGES
    if audit is not None and "memorization" in (audit.parts or ()):
        yield "audit.parts", "'memorization'", IMAGES


def _misfits(handed: Handed, chosen: Mapping[str, Component], registry: Registry) -> Iterator[Problem]:
    taker = chosen.get(handed.to)
    accepted = handed.names if taker is None else accepts(handed.to, taker)
    lacking = [name for name in handed.names if name not in accepted]
    if taker is None or not lacking:
        return
    what = " and ".join(_WORDS.get(name, f"{name!r}") for name in lacking)
    fitting = ", ".join(_fitting(handed.to, handed.names, registry))
    ways = [f"a {handed.to} that does ({fitting})", handed.rest] if fitting else [handed.rest]
    hint = " or ".join(filter(None, ways))
    accepted_names = ", ".join(accepted)
    expected = f"{handed.to} {taker.name!r} accepts {accepted_names}, and this hands on {what}; choose {hint}"
    yield Problem(handed.key, handed.value, expected.removesuffix("; choose "))


def _fitting(family: str, names: Iterable[str], registry: Registry) -> list[str]:
    """Installed components of a family that accept all of the names."""
    entries = (entry for entry in registry.all() if entry.family == family)
    return sorted({entry.component.name for entry in entries if set(names) <= set(accepts(family, entry.component))})


def _strategies_for(generator: Component | None, registry: Registry) -> str:
    """Installed prompt strategies whose output the generator accepts, in words."""
    family, accepted = "prompt_strategy", set() if generator is None else set(accepts("generator", generator))
    entries = (entry for entry in registry.all() if entry.family == family)
    names = {entry.component.name for entry in entries if set(provides(family, entry.component)) <= accepted}
    return f"a prompt strategy for it ({', '.join(sorted(names))})" if names else ""


def _components(values: Mapping[str, Any], registry: Registry) -> dict[str, Component]:
    """Family → the component that is chosen for it; those that are not valid are reported elsewhere."""
    chosen = {}
    for family in dict.fromkeys((*_ACCEPTS, *_PROVIDES)):
        selected = values.get(family)
        with suppress(PluginError):
            if selected is not None:
                chosen[family] = registry.find(family, selected.name).component
    return chosen
