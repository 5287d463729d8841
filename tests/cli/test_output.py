"""Where a command's words go: a result is whole, JSON and text; an error has one line, one code, one object."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fgl import errors
from fgl.cli import build
from fgl.commands import _errors, _output
from fgl.commands._table import NAMES
from fgl.commands.probe import BAD_OUTLOOK
from fgl.commands.review import REFUSED
from fgl.core.plugin_manager import PluginManager
from tests.helpers.cli import CliResult

ROOT = Path(__file__).parents[2]
SMALL = ("--set", "generator.num_inference_steps=2", "--set", "classifier.epochs=1", "--images-per-class", "2")
Fgl = Callable[..., CliResult]


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command line with a pipe or a redirection, by bash; `fgl` in it is the command."""
    fgl = f"{sys.executable} -c 'from fgl.cli import main; main()'"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("fgl ", f"{fgl} ")],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("words", ["plugins list", "plugins list --json", "config show", "partition --clients 2"])
def test_a_full_disk_behind_stdout_is_an_error_with_a_code_of_its_own(words: str) -> None:
    said = shell(f"fgl {words} > /dev/full")
    assert said.returncode == errors.StoreError.exit_code
    assert "error: cannot write to stdout: No space left on device" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_closed_stdout_is_said_and_a_closed_or_full_stderr_ends_nothing() -> None:
    said = shell("fgl plugins list >&-")
    assert said.returncode == errors.StoreError.exit_code
    assert "error: cannot write to stdout" in said.stderr
    for where in ("2>&-", "2>/dev/full"):
        said = shell(f"fgl partition --clients 2 --json {where}")
        assert said.returncode == 0
        assert json.loads(said.stdout)["partition"]["clients"] == 2


def test_a_reader_that_has_gone_ends_the_command_quietly() -> None:
    said = shell("fgl plugins list | true")
    assert said.returncode == _output.READER_GONE
    assert said.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict"])
def test_letters_that_stdout_does_not_have_are_escapes_and_a_result_stays_whole(
    fgl: Fgl, images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoding: str
) -> None:
    names = ("été", "日本")
    data = images(per_class=3, classes=names)
    (data / names[0] / "caf\udce9.png").write_bytes(b"broken")

    def narrow(*words: str) -> tuple[int, str]:
        kind, _, how = encoding.partition(":")
        held = io.TextIOWrapper(io.BytesIO(), encoding=kind, errors=how or "strict")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", held)
            said = fgl(*words)
        held.flush()
        assert isinstance(held.buffer, io.BytesIO)
        return said.code, held.buffer.getvalue().decode(kind)

    common = ("--dataset", str(data), "--skip-bad-images")
    code, said = narrow(
        "run",
        *common,
        "--clients",
        "2",
        "--partition",
        "iid",
        *SMALL,
        "--json",
        "--quiet",
        "--baselines",
        "none",
        "--out",
        "run",
    )
    assert code == 0
    result = json.loads(said)
    assert list(result["result"]["per_class"]) == list(names)
    assert result["dataset"]["skipped"][0].endswith("caf\\xe9.png")
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "caf\\\\xe9.png" in report
    assert "日本" in report
    code, said = narrow("partition", *common, "--clients", "2", "--partition", "iid")
    assert code == 0
    assert ("\\u65e5" in said) == (encoding != "utf-8:strict")
    code, said = narrow("datasets", "check", "--dataset", str(data))
    assert code == errors.DataError.exit_code
    assert "broken" in said


def test_nothing_but_results_is_written_to_stdout() -> None:
    """`say` and its like are the one way out: they write what text from outside cannot change."""
    for path in sorted((ROOT / "fgl" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                assert any(word.arg == "file" for word in node.keywords), f"{path.name}:{node.lineno} prints to stdout"


def test_every_json_text_of_fgl_is_strict() -> None:
    for path in sorted((ROOT / "fgl").rglob("*.py")):
        if "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and ast.unparse(node.func) == "json.dumps"
                and path.name != "strict_json.py"
            ):
                named = {word.arg: ast.unparse(word.value) for word in node.keywords}
                # what is allowed there is never written: see the comments
                allowed = "True" if path.name in ("options.py", "upload.py") else "False"
                assert named.get("allow_nan") in ("False", allowed), f"{path.name}:{node.lineno}"


def test_what_libraries_write_past_python_is_no_part_of_a_result() -> None:
    source = (
        "import os, sys\nfrom fgl.commands._console import stdout_to_stderr\n"
        "from fgl.commands._output import prepared, say\n"
        "with prepared():\n    with stdout_to_stderr():\n        os.write(1, b'from C\\n'); print('from Python')\n"
        "        os.system('echo from a program')\n    say('result')\n"
    )
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert said.stdout == "result\n"
    assert sorted(said.stderr.splitlines()) == ["from C", "from Python", "from a program"]


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("run", "--frob"), 2, "UsageError"),
        (("config", "show", "--set", "seed=x", "--set", "frob.x=1"), 2, "ConfigError"),
        (("plugins", "show", "nothing"), 2, "ConfigError"),
        (("datasets", "check", "--dataset", "./nowhere"), 4, "DataError"),
        (("digest", "nowhere"), 7, "StoreError"),
        (("stages", "nowhere"), 7, "StoreError"),
    ],
)
def test_an_error_is_an_object_too_with_json(fgl: Fgl, words: tuple[str, ...], code: int, kind: str) -> None:
    said = fgl(*words, "--json")
    assert said.code == code
    found = json.loads(said.out)
    assert found["schema_version"] == 1
    assert (found["error"]["kind"], found["error"]["exit_code"]) == (kind, code)
    assert found["error"]["message"].splitlines()[0] in " ".join(said.err.split())
    if kind == "ConfigError":
        assert all(set(one) == {"key", "got", "expected"} for one in found["error"]["problems"])
        assert found["error"]["problems"]


def test_an_error_without_json_says_nothing_on_stdout(fgl: Fgl) -> None:
    said = fgl("digest", "nowhere")
    assert (said.code, said.out) == (7, "")
    assert said.err.startswith("error: nowhere holds no synthetic set")


def test_a_result_with_an_exit_code_stays_one_object(fgl: Fgl, images: Callable[..., Path]) -> None:
    data = images(per_class=3)
    (data / "river" / "x.png").write_bytes(b"broken")
    said = fgl("datasets", "check", "--dataset", str(data), "--json")
    assert said.code == errors.DataError.exit_code
    assert json.loads(said.out)["fits"] is False


def _commands() -> Iterator[tuple[str, bool]]:
    """(words, whether it has --json) of each command."""
    from typer.main import get_command

    def walk(command: object, words: str) -> Iterator[tuple[str, bool]]:
        inner = getattr(command, "commands", {})
        for name, one in inner.items():
            if not words and name not in NAMES:  # of a plugin
                continue
            yield from walk(one, f"{words} {name}".strip())
        if not inner:
            yield words, any("--json" in getattr(one, "opts", ()) for one in command.params)  # type: ignore[attr-defined]

    yield from walk(get_command(build(PluginManager.load())), "")


def test_every_command_has_json_and_its_fields_are_on_the_page() -> None:
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    for words, has_json in _commands():
        assert has_json, f"fgl {words} has no --json"
        assert f"`fgl {words}`" in page, f"docs/json.md does not say what fgl {words} --json prints"


def test_the_page_of_exit_codes_is_that_of_the_errors() -> None:
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    stated = {int(code): text for code, text in re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)}
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.FGLError)]
    codes = {kind.exit_code for kind in kinds}
    assert set(stated) == codes | {0, 130, _output.READER_GONE, BAD_OUTLOOK, REFUSED}
    for kind in kinds:
        if kind.__base__ is errors.FGLError:
            assert f"`{kind.__name__}`" in stated[kind.exit_code]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("x\x1b[31m\nerror: none"), 1, "error: ValueError: x\\x1b[31m\n  fgl did not expect this"),
        (MemoryError(), 1, "error: out of memory"),
        (OSError(28, "No space left on device", "a\nb"), 7, "error: no space left for a"),
        (RecursionError("maximum recursion depth exceeded"), 1, "error: RecursionError: maximum recursion depth"),
        (errors.DataError("x\nerror: forged"), 4, "error: x\n  error: forged"),
    ],
)
def test_whatever_ends_a_command_is_a_message_and_no_traceback(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, said: str
) -> None:
    assert _errors.report(error) == code
    text = capsys.readouterr().err
    assert text.startswith(said)
    assert "Traceback" not in text
    assert all(line.startswith("  ") for line in text.splitlines()[1:])


def test_a_traceback_is_shown_to_whoever_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(_errors.DEBUG, "1")
    _errors.report(ValueError("x"))
    assert "ValueError: x" in capsys.readouterr().err


def test_a_log_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with _output.prepared():
        root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
        for handler in handlers:  # pytest's own
            root.removeHandler(handler)
        try:
            logging.getLogger("fgl.core.stages.rounds").warning(
                "%s did not answer", "x\x1b[31m\nx: accepted: client-09"
            )
        finally:
            for handler in handlers:
                root.addHandler(handler)
    assert capsys.readouterr().err == "x\\x1b[31m x: accepted: client-09 did not answer\n"
