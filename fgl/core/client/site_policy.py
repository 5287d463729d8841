"""The policy of a site's owner, read from the site's own files."""

from __future__ import annotations

from pathlib import Path

from fgl.core.client.policy import Policy, split
from fgl.core.config.loader import read_yaml


def site_policy(*files: str | Path) -> Policy:
    """What a site answers, for `at_site`.

    Args:
        files: The site's own YAML files, later ones win: its dataset, its options, and the section `site`
            (docs/deployment.md).

    Raises ConfigError for a section `site` that is wrong, or a file that is not YAML.
    """
    return split([read_yaml(Path(file)) for file in files], ", ".join(map(str, files)))
