"""Names that whoever wrote them hopes somebody obeys: at every door, in what a person reads afterwards.

Each payload is put into each place that takes text from outside. Whatever a command then prints, and every Markdown
file that it writes, is held against two rules: no control or format character, and nothing in it that a renderer of
Markdown would load, run or follow.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from fgl.contracts.events import StageContext
from fgl.contracts.progress import NullProgress
from fgl.core import plugin_manager
from fgl.core.config.resolve import resolve
from fgl.core.experiments import comparison, sweep
from fgl.core.experiments.method_results import SeedResult
from fgl.core.experiments.methods import Method
from fgl.core.orchestrator import reopen
from fgl.core.plugin_manager import PluginManager
from fgl.core.report import audit, metrics, run
from fgl.core.report.audit_figures import Audit
from fgl.core.report.schema import RunReport
from fgl.core.report.tables import Table
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import from_json
from fgl.io import yaml_text
from fgl.io.strict_json import loads
from fgl.plugins.trackers import fgl_upload_refused
from fgl.text import is_unseen
from tests.helpers import warm
from tests.helpers.cli import CliResult
from tests.helpers.hub import Hub

PAYLOADS = (
    "\x1b[31mred",
    "\x1b]0;title\x07x",
    "\x9b31mcsi",
    "a\nb: accepted: client-09",
    "a\rb: accepted: client-08",
    "\u202eevil",
    "zero\u200bwidth",
    "<img src=//evil.example/p.png>",
    "<script>alert(1)</script>",
    "![x](http://evil.example/p.png)",
    "[x](http://evil.example)",
    "[x]: http://evil.example",
    "# heading",
    "```\n# out of the fence",
    "| a | b |",
    "[red]x[/red]",
    "[/]",
    "<http://evil.example/?token=secret>",
    "</td></table><h1>x</h1>",
    "&lt;img src=x&gt;<b>",
)
FILES = tuple(name.replace("/", "∕") for name in PAYLOADS)  # a name of a file has none
Fgl = Callable[..., CliResult]


def hold(said: CliResult) -> None:
    """Nothing of what was printed is obeyed by a terminal, and no line of it is forged."""
    for words in (said.out, said.err):
        unseen = {ascii(one) for one in words if is_unseen(one) and one != "\n"}
        assert not unseen
        assert not re.search(r"^b: accepted", words, re.MULTILINE)
    assert "http://evil.example/?token=secret" not in said.err
    assert "Traceback" not in said.err


def hold_markdown(text: str, images: int = 0) -> str:
    """Nothing of it is obeyed by a terminal or a renderer; returns the HTML. images: that are fgl's own."""
    assert not {ascii(one) for one in text if is_unseen(one) and one != "\n"}
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert shown.count("<img ") == images
    assert not re.search(r'<img src="(?!sheets/|[a-z-]+\.(png|svg))', shown)
    for tag in ("<a ", "<script", "<b>", "</td></table><h1>"):
        assert tag not in shown
    assert shown.count("<h1>") == 1
    return shown


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def named_so(tmp_path: Path) -> Path:
    """A dataset whose classes are called by the payloads."""
    (tmp_path / "data").mkdir()
    for split, each in (("train", 4), ("test", 2)):
        names = [name for name in PAYLOADS for _ in range(each)]
        rows = {"image": [picture(number) for number in range(len(names))], "label": names}
        pq.write_table(pa.table(rows), tmp_path / "data" / f"{split}.parquet")
    return tmp_path / "data"


def test_names_of_classes_and_whoever_sent_what_in_a_run_and_its_report(
    fgl: Fgl, named_so: Path, tmp_path: Path
) -> None:
    data = ("--dataset", f"parquet:{named_so}", "--clients", "2", "--partition", "iid")
    hold(fgl("datasets", "check", *data[:2]))
    hold(fgl("datasets", "check", *data[:2], "--json"))
    said = fgl("partition", *data)
    hold(said)
    assert "[red]x[/red]" in said.out
    said = fgl(
        "run",
        *data,
        "--images-per-class",
        "1",
        "--set",
        "generator.num_inference_steps=2",
        "--set",
        "classifier.epochs=1",
        "--baselines",
        "none",
        "--out",
        "run",
        "--set",
        "evaluation.quality=true",
        "--set",
        "features.name=pixels",
        "--set",
        "evaluation.at_clients=true",
    )
    assert said.code == 0, said.err
    hold(said)
    hold_markdown((tmp_path / "run" / "report.md").read_text(encoding="utf-8"), images=len(PAYLOADS))
    hold_markdown((tmp_path / "run" / "classifier" / "README.md").read_text(encoding="utf-8"))
    hold(fgl("quality", "run", "--features", "pixels"))
    # the same run, with everything that others say of it
    session = reopen(tmp_path / "run", NullProgress())
    result = loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    refused = {name: {"rule": "sender", "reason": f"refused: unknown client {name}"} for name in PAYLOADS}
    result["upload"]["refused"] = refused
    result["at_clients"] = {**result["at_clients"], "refused": refused}
    result["prompt_models"] = [
        {"model": name, "repository": name, "commit": name, "license": name} for name in PAYLOADS
    ]
    result["generator"] |= {f"key {name}": name for name in PAYLOADS}
    result["audit"] = None
    session.info = replace(
        session.info, name=PAYLOADS[7], license=PAYLOADS[9], attribution="\n".join(PAYLOADS), skipped=FILES
    )
    upload = session.config.upload.model_copy(update={"run_id": PAYLOADS[13]})
    session.config = session.config.model_copy(update={"upload": upload})
    sheets = sorted((tmp_path / "run" / "sheets").glob("*.png"))
    text = run.markdown(session, RunReport.from_dict(result), sheets)
    hold_markdown(text, images=len(PAYLOADS))


def test_names_of_files_that_are_no_images(fgl: Fgl, tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "data" / kind / f"{number}.png").write_bytes(picture(number))
    for name in (*FILES, "caf\udce9"):
        (tmp_path / "data" / "cat" / f"{name}.png").write_bytes(b"broken")
    said = fgl("datasets", "check", "--dataset", str(tmp_path / "data"))
    assert said.code == 4
    hold(said)
    hold(fgl("datasets", "check", "--dataset", str(tmp_path / "data"), "--json"))
    hold(fgl("partition", "--dataset", str(tmp_path / "data"), "--clients", "2"))


def test_names_of_files_of_senders(fgl: Fgl, images: Callable[..., Path], tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    (tmp_path / "shared.yaml").write_text(
        f"dataset: {{name: imagefolder, path: '{images(per_class=4)}'}}\npartition: {{name: iid, clients: 2}}\n",
        encoding="utf-8",
    )
    for name in (*FILES, "bad-\udcff"):
        (inbox / f"{name}.safetensors").write_bytes(b"no upload")
    files = sorted(os.path.join("in", name) for name in os.listdir(inbox))
    said = fgl("server", "ingest", "run", *files, "--config", "shared.yaml")
    assert said.code == 5
    hold(said)
    assert len(said.out.splitlines()) == len(files) + 1
    said = fgl("server", "ingest", "run", *files, "--json")
    hold(said)
    assert set(loads(said.out)["files"]) == set(files)


@pytest.mark.parametrize("name", PAYLOADS)
def test_keys_and_values_of_a_configuration(fgl: Fgl, tmp_path: Path, name: str) -> None:
    held: list[dict[str, Any]] = [
        {name: 1},
        {"generator": {name: name}},
        {"generator": name},
        {"baselines": [name]},
        {"dataset": name},
        {"baseline_options": {name: {}}},
        {"dataset": {"name": "imagefolder", "path": name}},
        {"device": name},
    ]
    for wrong in held:
        (tmp_path / "c.yaml").write_text(yaml_text.dump(wrong), encoding="utf-8")
        hold(fgl("config", "show", "c.yaml"))
        hold(fgl("config", "show", "c.yaml", "--json"))
    hold(fgl("config", "show", "--set", f"upload.run_id='{name}'"))
    hold(fgl("config", "show", f"--{name}"))
    hold(fgl("stages", name))
    hold(fgl("plugins", "show", name))


def test_titles_of_methods_and_settings_in_tables() -> None:
    for line in Table(("", "a"), [(name, name) for name in PAYLOADS]).lines():
        assert not any(is_unseen(one) for one in line)
    found: dict[str, Any] = {
        "schema_version": 1,
        "of": {"uploads": None, "synthetic": None, "model": None},
        "membership": None,
        "memorization": None,
        "uploads": None,
        "left_out": {name: name for name in PAYLOADS},
    }
    hold_markdown("\n".join(["# Audit", "", *audit.section(from_json(Audit, found), "##")]))


def test_a_comparison_and_a_sweep_of_hostile_names(tmp_path: Path) -> None:
    config = resolve([{"dataset": {"name": "imagefolder", "path": PAYLOADS[9]}}], PluginManager.load().registry)
    methods = [Method(name, 2, name) for name in PAYLOADS]
    one = SeedResult(top1=0.5, bytes=1, seconds=1.0, curve=[(1, 0.5, 1)])
    seeds = {0: {method.name: one for method in methods}}
    guesses = metrics.about(np.array([0, 0, 1]), PAYLOADS)
    comparison.write(RunDir(tmp_path, "compare"), config, PluginManager.load(), methods, seeds, guesses)
    hold_markdown((tmp_path / "compare.md").read_text(encoding="utf-8"), images=2)
    cells = [sweep.Cell(name) for name in PAYLOADS]
    rows = [
        sweep.SettingRow(
            setting=cell.name,
            values={},
            seeds=seeds,
            methods=comparison.summarize(methods, seeds),
            test_set=metrics.about(np.array([place]), PAYLOADS),
        )
        for place, cell in enumerate(cells)
    ]
    sweep.write(RunDir(tmp_path, "sweep"), cells, rows)
    hold_markdown((tmp_path / "sweep.md").read_text(encoding="utf-8"), images=1)


def test_what_a_tracker_notes_is_one_line_of_json_each(tmp_path: Path) -> None:
    context = StageContext(stage="clients", run_dir=str(tmp_path))
    for name in PAYLOADS:
        fgl_upload_refused(context, name, "sender", name)
    written = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    assert [loads(line)["client"] for line in written.splitlines()] == list(PAYLOADS)
    assert not any(is_unseen(one) for one in written if one != "\n")


PLUGIN = """
from fgl import Component, hookimpl
NAMES = {names!r}
print("printed at import")
@hookimpl
def fgl_aggregators():
    return [Component(name=f"mine-{{place}}", target="x:y", summary=name) for place, name in enumerate(NAMES)]
"""
BAD = """
from fgl import Component, hookimpl
@hookimpl
def fgl_aggregators():
    return [Component(name={name!r}, target="x:y")]
"""


def test_names_and_summaries_of_plugins(fgl: Fgl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    sources = {"hostile_good": PLUGIN.format(names=PAYLOADS)}
    names = (*PAYLOADS, "", "--x", "Bad Name/../x")
    sources |= {f"hostile_{place}": BAD.format(name=name) for place, name in enumerate(names)}
    for module, source in sources.items():
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
    pairs = zip(["good", *names], sources, strict=True)
    points = [EntryPoint(name or "empty", module, "fgl") for name, module in pairs]
    monkeypatch.setattr(plugin_manager, "entry_points", lambda group: points)
    try:
        said = fgl("plugins", "list")
        hold(said)
        assert "printed at import" in said.err
        assert "printed at import" not in said.out
        assert said.out.count("not loaded: ") == len(names)
        said = fgl("plugins", "list", "--json")
        hold(said)
        found = loads(said.out)
        assert {one["summary"] for one in found["components"]} >= set(PAYLOADS)
        assert len(found["problems"]) == len(names)
        hold(fgl("plugins", "show", "mine-0"))
        hold(fgl("config", "show", "--aggregator", "nothing"))
    finally:
        for module in sources:
            sys.modules.pop(module, None)


def test_what_a_hub_calls_its_files_and_its_refusals(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/evil", {"README.md": b"x", **{f"{name}.json": b"{}" for name in FILES if "\n" not in name}})
    hub.push("who/rude", {"config.json": b"{}"})
    hub.fault("", "who/rude", status=403, code="\x1b[31mGatedRepo <img src=x>")
    for model in ("who/evil", "who/rude"):
        done = warm.run("from fgl.cli import main; main()", "models", "pull", model, env=hub.env(tmp_path))
        hold(CliResult(done.returncode, done.stdout, done.stderr))
