"""fgl's own commands: what each is called, where help lists it, and the function that it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fgl.commands import (
    adapt,
    audit,
    client,
    compare,
    config,
    datasets,
    digest,
    keys,
    models,
    partition,
    plugin_kit,
    plugins,
    presets,
    privacy,
    probe,
    probe_by_file,
    quality,
    review,
    run,
    server,
    server_log,
    server_synthesize,
    stages,
    sweep,
    votes_by_file,
)
from fgl.commands._loading import announced

Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Group:
    """Commands of two words: `fgl models list`."""

    help: str
    """Shown by `fgl --help`."""
    commands: Mapping[str, Command | Group]
    """Second word → command, or a group with third words, in the order of the group's help."""


# `announced` is for those that import what takes seconds; the others answer at once.
PANELS: dict[str, dict[str, Command | Group]] = {
    "Look first: data, and whether a generator suits it": {
        "presets": Group(
            "Experiments that are ready by name.", {"list": presets.list_command, "show": presets.show_command}
        ),
        "datasets": Group("Look at data.", {"check": announced(datasets.check_command)}),
        "partition": announced(partition.partition_command),
        "probe": announced(probe.probe_command),
        "adapt": announced(adapt.adapt_command),
    },
    "Run": {
        "run": announced(run.run_command),
        "stages": announced(stages.stages_command),
        "digest": announced(digest.digest_command),
    },
    "Measure and compare": {
        "quality": announced(quality.quality_command),
        "audit": announced(audit.audit_command),
        "privacy": announced(privacy.privacy_command),
        "compare": announced(compare.compare_command),
        "sweep": announced(sweep.sweep_command),
    },
    "Clients and server on machines of their own": {
        "client": Group(
            "A client on a machine of its own.",
            {
                "keygen": keys.client_keygen_command,
                "probe": announced(probe_by_file.client_probe_command),
                "prepare": announced(client.prepare_command),
                "vote": announced(votes_by_file.client_vote_command),
                "show": client.show_command,
                "review": announced(review.review_command),
                "approve": announced(review.approve_command),
            },
        ),
        "server": Group(
            "A server whose clients are elsewhere.",
            {
                "keygen": keys.server_keygen_command,
                "probe": announced(probe_by_file.server_probe_command),
                "ballot": announced(votes_by_file.server_ballot_command),
                "ingest": announced(server.ingest_command),
                "run": announced(server.run_command),
                "synthesize": announced(server_synthesize.server_synthesize_command),
                "forget": announced(server.forget_command),
                "log": Group(
                    "The server's own record of a run.",
                    {"show": server_log.show_command, "verify": server_log.verify_command},
                ),
            },
        ),
    },
    "What is installed": {
        "config": Group("Look at configurations.", {"show": config.config_show}),
        "plugins": Group(
            "Plugins: look at them, write them.",
            {
                "list": plugins.plugins_list,
                "show": plugins.plugins_show,
                "doctor": plugin_kit.plugins_doctor,
                "install": plugin_kit.plugins_install,
                "new": plugin_kit.plugins_new,
            },
        ),
        "models": Group(
            "Foundation models on this machine.",
            {
                "list": models.list_command,
                "pull": models.pull_command,
                "verify": models.verify_command,
                "path": models.path_command,
            },
        ),
    },
}
"""Panel of `fgl --help` → its commands and groups by name, all in the order of help."""
PLUGINS_PANEL = "Commands of installed plugins"
NAMES = tuple(name for commands in PANELS.values() for name in commands)
"""First words that a plugin cannot take for its own commands."""


def rows() -> Iterator[tuple[str, str, Command | Group]]:
    """(panel, name, command or group), in the order of help."""
    for panel, commands in PANELS.items():
        for name, entry in commands.items():
            yield panel, name, entry
