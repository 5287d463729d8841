"""Commands in README and docs are ones that fgl takes."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from fgl.cli import build
from fgl.commands._config import resolve
from fgl.commands._options import ConfigFlags
from fgl.core.baselines import BASELINES
from fgl.core.plugin_manager import PluginManager

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Words of a command that are not passed on: where a shell would take over.
_ENDS = {"|", ">"}


def _lines(page: Path) -> Iterator[tuple[str, bool]]:
    """(`fgl …` of a page, whether it is whole): in blocks of code, joined where a line ends in a backslash, whole; in
    spans of code within prose, where arguments may be left out."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```[a-z]*\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            bare = re.sub(r"\s#.*", "", line)
            for found in re.findall(r"(?:^|&& |; do )(fgl [a-z-].*?)(?=$| && |; done)", bare.strip()):
                yield found, True
    for span in re.findall(r"`(fgl [^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        yield span, False


def _words(line: str) -> list[str]:
    words: list[str] = []
    for word in shlex.split(line)[1:]:
        if word in _ENDS:
            break
        words.append(word)
    return words


def _commands() -> list[tuple[str, list[str], bool]]:
    found = {}
    for page in PAGES:
        for line, whole in _lines(page):
            if re.search(r"…|\.\.\.|<|=$", line.strip()):  # placeholders of prose
                continue
            words = ["1" if word == "N" else word for word in _words(line)]
            found[f"{page.name}: {line.strip()}"] = (words, whole)
    return [(line, *one) for line, one in found.items()]


COMMANDS = _commands()


def test_pages_have_commands() -> None:
    assert len(COMMANDS) > 60


@pytest.fixture(scope="module")
def program() -> Any:
    return get_command(build(PluginManager.load()))


def _parsed(command: Any, words: list[str]) -> tuple[str, dict[str, Any]]:
    """(name of the command, its parameters). Raises what a wrong command line raises."""
    context, names = None, []
    name = "fgl"
    while True:
        with_parent = {} if context is None else {"parent": context}
        if not hasattr(command, "commands"):
            return " ".join(names), command.make_context(name, list(words), **with_parent).params
        context = command.make_context(name, list(words), **with_parent)
        rest = [*getattr(context, "_protected_args", []), *context.args]
        name, command, words = command.resolve_command(context, rest)
        names.append(name)


@pytest.mark.parametrize(("line", "words", "whole"), COMMANDS, ids=[line for line, _, _ in COMMANDS])
def test_commands_of_the_pages_are_understood(line: str, words: list[str], whole: bool, program: Any) -> None:
    if not words[0].startswith("-"):
        assert words[0] in program.commands, line
    try:
        name, given = _parsed(program, words)
    except Exception as error:
        # in prose, `fgl models` or `fgl audit --parts uploads` names a command, and is no whole line
        if type(error).__name__ == "Exit" or (not whole and re.search("Missing|NoArgs", repr(error))):
            return
        raise AssertionError(f"{line}: {error!r}") from error
    if not whole or name not in ("run", "probe", "compare", "partition", "config show"):
        return
    # files and folders of the reader's own are not here; what is said beside them must be right all the same
    apart = ("config", "rounds") if name == "compare" else ("config",)
    taken = {field.name: given[field.name] for field in fields(ConfigFlags) if field.name in given}
    flags = ConfigFlags(**{name: value for name, value in taken.items() if name not in apart})
    if flags.dataset and not flags.dataset.startswith(("bundled:", "hf:")):
        flags = replace(flags, dataset=str(ROOT))
    resolve(PluginManager.load(), flags)


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(<?([^)#>\s]*)(?:#[^)>]*)?>?\)", page.read_text(encoding="utf-8"))
        if target and "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_index_names_every_page_and_anchors_are_there() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([a-z-]+\.md)\)", index))
    assert "docs/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    missing = []
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
            text = ((page.parent / target) if target else page).read_text(encoding="utf-8")
            heads = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
            if anchor not in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}:
                missing.append(f"{page.name}: {target}#{anchor}")
    assert missing == []


def test_every_control_is_on_its_page() -> None:
    page = (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in (*BASELINES, "prompts:NAME"))
    assert "docs/baselines.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_layers_in_the_docs_are_those_that_the_linter_holds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    held = [[layer.replace("fgl.", "") for layer in one["layers"]] for one in contracts if one["type"] == "layers"]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    blocks = page.partition("## Rules")[2].split("```")
    assert [block.strip().splitlines() for block in (blocks[1], blocks[3])] == held


def test_files_that_the_architecture_names_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", page))
    places = ("", "fgl", "fgl/core")
    assert len(named) > 30
    assert [name for name in sorted(named) if not any((ROOT / place / name).is_file() for place in places)] == []
