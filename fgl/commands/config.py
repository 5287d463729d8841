"""`fgl config show`: the configuration that a command would run with."""

from __future__ import annotations

from fgl.commands._config import resolve
from fgl.commands._options import (
    Aggregator,
    Beta,
    Classifier,
    Clients,
    ConfigFile,
    Controls,
    Dataset,
    Device,
    Generator,
    Images,
    Json,
    Partition,
    PresetName,
    Rounds,
    Seed,
    Set,
    Skip,
    Smoke,
    Strategy,
)
from fgl.commands._output import say_json, say_text
from fgl.core.plugin_manager import PluginManager


def config_show(
    config: ConfigFile = None,
    preset: PresetName = None,
    smoke: Smoke = False,
    generator: Generator = None,
    prompt_strategy: Strategy = None,
    aggregator: Aggregator = None,
    classifier: Classifier = None,
    dataset: Dataset = None,
    clients: Clients = None,
    partition: Partition = None,
    beta: Beta = None,
    images_per_class: Images = None,
    rounds: Rounds = None,
    controls: Controls = None,
    seed: Seed = None,
    device: Device = None,
    skip_bad_images: Skip = False,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Print the configuration that `fgl run` with the same arguments would use, as YAML."""
    resolved, _ = resolve(PluginManager.load(), config, locals())
    if as_json:
        say_json({"config": resolved.to_dict()})
    else:
        say_text(resolved.to_yaml().rstrip("\n"))
