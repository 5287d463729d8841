"""YAML that means what is written, and that is read within bounds whoever wrote it."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fgl.core.config import presets
from fgl.core.config.loader import read_yaml, set_option
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ConfigError
from fgl.io import yaml_text
from fgl.text import is_unseen
from tests.helpers.mutants import mutants

REGISTRY = PluginManager.load().registry


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("0100", 100), ("0o17", 15), ("0x1F", 31), ("1_000", 1000), ("+5", 5), ("12:30", "12:30"),
        ("190:20:30", "190:20:30"), ("yes", "yes"), ("[yes, no, on, off, y]", ["yes", "no", "on", "off", "y"]),
        ("{no: Norway}", {"no": "Norway"}), ("true", True), ("False", False), ("~", None), ("1e-3", 0.001),
        ("5.", 5.0), (".5", 0.5), ("2026-11-07", "2026-11-07"), ("=", "="), ("1:2", "1:2"), ("0xz", "0xz"),
    ],
)  # fmt: skip
def test_words_and_numbers_are_what_they_look_like(text: str, value: Any) -> None:
    found = yaml_text.load(text)
    assert found == value
    assert isinstance(found, type(value))


def _nested(first: str, line: str) -> str:
    """Nine names, each of which stands nine times for the one before it."""
    names = "abcdefghij"
    return "\n".join([first, *(line.format(name, ", ".join([f"*{before}"] * 9)) for before, name in pairwise(names))])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_nested("a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]", "{0}: &{0} [{1}]"), "aliases of aliases beyond measure"),
        (_nested("a: &a {k: 1}", "{0}: &{0}\n  <<: [{1}]"), "aliases of aliases beyond measure"),
        (_nested("baselines: &a [fedavg, local]", "{0}: &{0} {{x: [{1}]}}"), "aliases of aliases beyond measure"),
        ("a: &a [*a]", "an alias within what it names"),
        ("seed: 0x" + "f" * 500_000, "a number of 500,002 digits"),
        ("seed: " + "9" * 500_000, "a number of 500,000 digits"),
        ("a: " + "[" * 500_000, "deeper than 32 levels"),
        ("\n".join(" " * depth + "a:" for depth in range(500)), "deeper than 32 levels"),
        ("- \n" * 60_000, "more than 50,000 values"),
        ("a: '" + "x" * 1_000_001, "more than 1,000,000 bytes"),
        ("seed: 1\nseed: 2", "the key 'seed' is there twice"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: !!int x", "'x' is no whole number"),
        ("a: \x1b[31m", "special characters are not allowed"),
    ],
)
def test_a_bomb_is_an_error_of_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(caught.value).count("\n") == 1


def test_any_mutant_of_a_configuration_is_read_or_refused(tmp_path: Path) -> None:
    sound = [path.read_bytes() for path in sorted(presets.FOLDER.glob("*.yaml"))]
    sound.append(b"a: &a {epochs: 3}\nclassifier:\n  <<: *a\n  lr: 1e-3\nupload: {clients: [north], filters: [clip]}")
    path = tmp_path / "c.yaml"
    for mutant in mutants(sound, 0, 60):
        path.write_bytes(mutant)
        said = ""
        try:
            resolve([read_yaml(path)], REGISTRY)
        except ConfigError as error:
            said = str(error)
        assert not [one for one in said if is_unseen(one) and one != "\n"], mutant


def test_minutes_of_minutes_are_text_and_not_computed() -> None:
    assert isinstance(yaml_text.load("seed: " + ":".join(["59"] * 100_000))["seed"], str)


def test_a_pipe_or_a_device_is_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="a pipe or a device, not a regular file"):
            read_yaml(path)


def test_a_shells_substituted_command_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"seed: 5\n")
    os.close(writing)
    try:
        assert read_yaml(Path(f"/dev/fd/{reading}")) == {"seed": 5}
    finally:
        os.close(reading)


def test_aliases_that_are_used_with_measure_are_read() -> None:
    text = "a: &a {epochs: 3}\nb:\n  <<: *a\n  lr: 1e-3\nc: [*a, *a]"
    assert yaml_text.load(text)["b"] == {"epochs": 3, "lr": 0.001}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8") | st.sampled_from("\x1b\u202e\u200d\n'\"")),
        st.text(st.sampled_from("019:_-+.exo ~nyos=<#'\"\n\u202e\x9b\udce9林"))
        | st.integers()
        | st.booleans()
        | st.none(),
    )
)
def test_what_is_written_is_read_back_here_and_by_other_readers(value: dict[str, Any]) -> None:
    text = yaml_text.dump(value)
    text.encode()
    assert yaml_text.load(text) == value
    assert yaml.safe_load(text) == value
    assert "\u202e" not in text


def _problems(*layers: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        resolve(layers, REGISTRY)
    return {one.key: f"got {one.got}; {one.expected}" for one in caught.value.problems}


def test_what_is_no_text_is_shown_as_it_was_written_and_to_be_put_in_quotes() -> None:
    found = _problems(yaml_text.load("upload: {run_id: 0x10, clients: [1.10, true, ~]}"))
    assert found["upload.run_id"] == "got 0x10; expected text: put it in quotes, '0x10'"
    assert found["upload.clients.0"] == "got 1.10; expected text: put it in quotes, '1.10'"
    assert found["upload.clients.1"].endswith("put it in quotes, 'true'")
    assert found["upload.clients.2"].endswith("put it in quotes, 'null'")


def test_flags_as_keys_at_the_top_are_told_where_they_belong() -> None:
    found = _problems({"rounds": 5, "clients": 4, "beta": 0.1, "images_per_class": 3, "epochs": 7, "sede": 1})
    assert found["rounds"].endswith("set rounds.count")
    assert "set partition.clients" in found["clients"]
    assert "set partition.beta" in found["beta"]
    assert found["images_per_class"].endswith("set synthesis.images_per_class")
    assert "unknown key: set " in found["epochs"]
    assert "classifier.epochs" in found["epochs"]
    assert "did you mean 'seed'?" in found["sede"]


def test_an_option_without_its_family_is_told_so_on_the_command_line() -> None:
    layer: dict[str, Any] = {}
    set_option(layer, "epochs=5")
    assert "classifier.epochs" in _problems(layer)["epochs"]


def test_the_kind_of_a_dataset_is_read_off_its_path(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    found = resolve([{"dataset": {"path": str(tmp_path), "skip_bad_images": True}}], REGISTRY).dataset
    assert found.name == "imagefolder"
    assert found.options["path"] == str(tmp_path)
    assert found.options["skip_bad_images"]


def test_names_of_keys_obey_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve([{"\x1b[31mred\nerror: none": 1, "generator": {"\u202eevil": 1}}], REGISTRY)
    said = str(caught.value)
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert all(line.startswith("  ") for line in said.split("\n")[1:])
