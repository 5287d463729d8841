"""The command line, called in this process as a person would type it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fgl.cli import main


@dataclass
class CliResult:
    code: int
    out: str
    err: str


def run_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], always: tuple[str, ...] = ()
) -> Callable[..., CliResult]:
    """A function that takes a command's words. always: words that come after the first one in each call."""

    def call(command: str, *arguments: str) -> CliResult:
        monkeypatch.setattr(sys, "argv", ["fgl", command, *always, *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        text = capsys.readouterr()
        return CliResult(code, text.out, text.err)

    return call


def checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that takes a command's words, the exit code that they must end with (`fails`), and returns what was
    printed, errors too."""
    call = run_cli(monkeypatch, capsys)

    def check(*arguments: object, fails: int = 0) -> str:
        said = call(*map(str, arguments))
        assert said.code == fails, said.out + said.err
        assert "Traceback" not in said.err
        return said.out + said.err

    return check
