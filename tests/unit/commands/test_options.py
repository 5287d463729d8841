"""What `@config_flags` gives a command, as Typer sees it."""

from __future__ import annotations

from inspect import signature
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from fgl.commands._options import ConfigFlags, config_flags, option_name

seen: dict[str, Any] = {}


@config_flags("preset", "clients", "set_")
def command(
    before: Annotated[int, typer.Option()] = 1, *, flags: ConfigFlags, after: Annotated[bool, typer.Option()] = False
) -> None:
    """A command of three flags."""
    seen.update(before=before, flags=flags, after=after)


@config_flags(without=("rounds", "seed"))
def with_rounds_of_its_own(flags: ConfigFlags, *, rounds: Annotated[int, typer.Option()] = 7) -> None:
    seen.update(flags=flags, rounds=rounds)


def _call(function: Any, *words: str) -> None:
    app = typer.Typer()
    app.command()(function)
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output


def test_flags_stand_where_the_parameter_stands_and_what_is_run_before_all() -> None:
    assert list(signature(command).parameters) == ["preset", "before", "clients", "set_", "after"]


def test_a_command_gets_what_was_given_as_one_value_and_its_own_parameters_by_name() -> None:
    _call(command, "--clients", "3", "--set", "a.b=1", "--set", "c.d=2", "--before", "2", "--after")
    assert seen["flags"] == ConfigFlags(clients=3, set_=["a.b=1", "c.d=2"])
    assert (seen["before"], seen["after"]) == (2, True)


def test_a_flag_that_is_left_out_can_be_the_commands_own() -> None:
    assert "seed" not in signature(with_rounds_of_its_own).parameters
    _call(with_rounds_of_its_own, "--rounds", "9", "--images-per-class", "5")
    assert seen["rounds"] == 9
    assert seen["flags"] == ConfigFlags(images_per_class=5)


def test_given_names_what_the_command_line_said_in_order() -> None:
    assert ConfigFlags().given() == {}
    assert list(ConfigFlags(set_=["a=1"], seed=0, config="x.yaml", smoke=True).given()) == [
        "config",
        "smoke",
        "seed",
        "set_",
    ]


@pytest.mark.parametrize(
    ("field", "name"),
    [("config", "CONFIG.yaml"), ("set_", "--set"), ("images_per_class", "--images-per-class")],
)
def test_a_field_is_named_as_it_is_typed(field: str, name: str) -> None:
    assert option_name(field) == name


def test_a_flag_that_does_not_exist_is_no_flag_of_a_command() -> None:
    with pytest.raises(KeyError):
        config_flags("colour")
