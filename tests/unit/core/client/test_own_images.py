"""An image is itself under every configuration; where its ledger lies is the owner's to say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgl.contracts.boundary import simulated
from fgl.core.client import policy
from fgl.core.client.own_images import identity, ledger_of
from fgl.core.client.policy import Policy, at_site, split
from fgl.core.client.spending import Limit
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ConfigError


def _folder(root: Path, names: tuple[str, str], suffix: str = "png", count: int = 4) -> Path:
    draw = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}-{index}.{suffix}")
    return root


def _identity(path: Path, **options: object):
    created = PluginManager.load().registry.create("dataset", "imagefolder", {"path": str(path), **options})
    images = created.split("train")
    return identity(images)


def test_other_class_names_another_format_and_fewer_images_do_not_make_other_images(tmp_path):
    first = _identity(_folder(tmp_path / "a", ("cat", "dog")), holds="train")
    again = _identity(_folder(tmp_path / "b", ("x", "y"), "bmp"), holds="train")
    assert first == again
    assert len(first) == 8
    fewer = _identity(tmp_path / "a", holds="train", max_per_class=2)
    assert fewer != first
    assert len(fewer) == 4
    assert fewer.overlaps(first)


def test_a_site_says_where_its_ledger_lies_and_else_it_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert Policy().ledger() == tmp_path / ".local" / "state" / "fgl" / "ledger"
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert Policy().ledger() == Path("/srv/state/fgl/ledger")
    assert split([{"site": {"ledger": "~/mine"}}], "site.yaml").ledger() == tmp_path / "mine"
    with pytest.raises(ConfigError, match=r"site\.ledger.*'ledgers' is relative"):
        split([{"site": {"ledger": "ledgers"}}], "site.yaml")


def _shared(**more: object) -> dict[str, object]:
    return {"dataset": {"class_names": ["cat", "dog"]}, "upload": {"clients": ["north"]}, **more}


def test_no_request_can_name_another_ledger_or_raise_the_limit(tmp_path):
    own = {"dataset": {"name": "imagefolder", "path": str(tmp_path)}, "privacy": {"max_epsilon": 2.0, "delta": 1e-6}}
    rules = split([{**own, "site": {"ledger": str(tmp_path / "mine"), "private": str(tmp_path / "private")}}], "site")
    asked = {
        "config": _shared(privacy={"max_epsilon": 100.0, "delta": 0.1}),
        "client_id": "north",
        "ledger": str(tmp_path / "other"),
    }
    with at_site(rules):
        found = policy.allowed(asked, "upload")
    config = resolve([found["config"]], PluginManager.load().registry)
    ledger = ledger_of(found, config)
    assert ledger.folder == tmp_path / "mine"
    assert ledger.limit == Limit(2.0, 1e-6)


def test_a_simulated_client_has_its_own_in_its_private_folder(tmp_path):
    with simulated():
        found = policy.allowed({"private": str(tmp_path), "ledger": "/elsewhere"}, "upload")
    assert found["ledger"] == str(tmp_path / "ledger")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_epsilon", -1, r"privacy\.max_epsilon: got -1; expected more than 0"),
        ("max_epsilon", float("inf"), r"privacy\.max_epsilon: got inf; .*finite"),
        ("delta", 1.5, r"privacy\.delta: got 1\.5; .*less than 1"),
        ("delta", 0, r"privacy\.delta: got 0; expected more than 0"),
    ],
)
def test_a_limit_that_means_nothing_is_named(key, value, message):
    with pytest.raises(ConfigError, match=message):
        resolve([{"privacy": {key: value}}], PluginManager.load().registry)
