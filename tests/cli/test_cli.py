"""What a person types and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.helpers.cli import CliResult


def test_a_misspelt_generator_is_one_clear_line(fgl: Callable[..., CliResult]) -> None:
    said = fgl("run", "--generator", "tinny")
    assert said.code == 2
    assert "did you mean 'tiny'" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_all_wrong_flags_are_reported_together(fgl: Callable[..., CliResult]) -> None:
    said = fgl(
        "run",
        "--partition",
        "iid",
        "--beta",
        "0.5",
        "--images-per-class",
        "0",
        "--set",
        "classifer.epochs=1",
        "--device",
        "gpu",
    )
    assert said.code == 2
    for key in ("partition.beta", "synthesis.images_per_class", "classifer", "device"):
        assert key in said.err
    assert "did you mean 'classifier'" in said.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--dataset", "nowhere"], "a path must exist"),
        (["--dataset", "bundled:eurosta"], "eurosat"),
        (["nothing.yaml"], "no such file"),
        (["--set", "generator"], "family.option=value"),
        (["--clients", "0"], "partition.clients"),
        (["--beta", "-1"], "partition.beta"),
        (["--seed", "-1"], "seed"),
        (["--set", "baselines=everything"], "baselines"),
    ],
)
def test_each_wrong_value_names_its_key(fgl: Callable[..., CliResult], arguments: list[str], word: str) -> None:
    said = fgl("run", *arguments)
    assert said.code == 2
    assert word in said.err


def test_a_path_that_is_not_there_says_what_is(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    said = fgl("run", "--dataset", "./imges")
    assert said.code == 4
    assert "does not exist" in said.err
    assert "did you mean" in said.err
    assert str(tmp_path / "images") in said.err


def test_a_malformed_set_does_not_hide_other_problems(fgl: Callable[..., CliResult]) -> None:
    said = fgl("run", "--set", "generator", "--generator", "tinny")
    assert said.code == 2
    for word in ("family.option=value", "did you mean 'tiny'"):
        assert word in said.err


def test_a_control_that_does_not_fit_the_data_is_said_before_anything_runs(
    fgl: Callable[..., CliResult], tmp_path: Path
) -> None:
    said = fgl("run", "--set", "baselines=[prompts:domain]", "--out", "run")
    assert said.code == 2
    assert "needs domains" in said.err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_knows_who_the_clients_are(fgl: Callable[..., CliResult]) -> None:
    wrong = ("--rounds", "2", "--set", "rounds.drop={1: [client-99]}", "--dry-run")
    said = fgl("run", *wrong)
    assert said.code == 2
    assert "client-99" in said.err
    assert "client-00" in said.err


def test_a_dry_run_reads_the_whole_prompts_file(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("class,prompt\nriver,a river\nriwer,another\nriver,\n")
    arguments = ["--prompt-strategy", "prompts-file", "--set", f"prompt_strategy.path={path}"]
    said = fgl("run", "--dry-run", *arguments)
    assert said.code == 4
    assert "line 3: class: unknown 'riwer': did you mean 'river'?" in said.err
    assert "line 4: prompt: is empty" in said.err
    path.write_text("class,prompt\nriver,a river\n")
    assert fgl("run", "--dry-run", *arguments).code == 0
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_builds_the_captioner_that_is_here(
    fgl: Callable[..., CliResult], captioner: Path, writer: Path
) -> None:
    arguments = ["run", "--dry-run", "--prompt-strategy", "caption", "--set"]
    assert fgl(*arguments, f"prompt_strategy.model={captioner}").code == 0
    said = fgl(*arguments, f"prompt_strategy.model={writer}")
    assert said.code == 6
    assert "expected a folder or Hub id of a model that captions images" in said.err


def test_a_classifier_that_cannot_be_built_is_said_before_anything_runs(
    fgl: Callable[..., CliResult], tmp_path: Path
) -> None:
    said = fgl("run", "--classifier", "transformers", "--set", "classifier.architecture=resnext", "--out", "run")
    assert said.code == 6
    assert "resnext" in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--generater", "--json=yes"])
def test_an_unknown_flag_is_a_usage_error(fgl: Callable[..., CliResult], flag: str) -> None:
    assert fgl("run", flag).code == 2


def test_an_empty_folder_is_an_error_about_the_data(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = fgl("run", "--dataset", "empty")
    assert said.code == 4
    assert "empty" in said.err
    assert not (tmp_path / "runs").exists()


def test_a_split_that_cannot_be_met_says_what_to_change(fgl: Callable[..., CliResult]) -> None:
    said = fgl("run", "--clients", "20", "--set", "partition.max_tries=20", "--dry-run")
    assert said.code == 4
    for word in ("beta", "clients", "min_samples"):
        assert word in said.err


def test_config_show_prints_yaml_that_run_takes(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    flags = ["--clients", "3", "--prompt-strategy", "attributes", "--set", "generator.batch_size=7"]
    shown = fgl("config", "show", *flags)
    assert shown.code == 0
    loaded = yaml.safe_load(shown.out)
    assert (loaded["partition"]["clients"], loaded["generator"]["batch_size"]) == (3, 7)
    (tmp_path / "shown.yaml").write_text(shown.out)
    assert yaml.safe_load(fgl("config", "show", "shown.yaml").out) == loaded


def test_plugins_show_lists_every_option_with_type_default_and_meaning(fgl: Callable[..., CliResult]) -> None:
    said = fgl("plugins", "show", "dirichlet")
    assert said.code == 0
    assert "partition.beta: float = 0.01" in said.out
    assert "Concentration" in said.out


def test_plugins_show_takes_a_preset_at_its_word(fgl: Callable[..., CliResult]) -> None:
    said = fgl("plugins", "show", "resnet18").out
    assert "classifier.epochs: int = 120" in said
    assert "rounds.local" not in said


def test_plugins_show_says_what_is_otherwise_in_rounds(fgl: Callable[..., CliResult]) -> None:
    assert 'unless rounds.local says otherwise: {"lr": 0.0003}' in fgl("plugins", "show", "small").out


def test_every_component_can_be_shown(fgl: Callable[..., CliResult]) -> None:
    listed = json.loads(fgl("plugins", "list", "--json").out)
    for entry in listed["components"]:
        said = fgl("plugins", "show", entry["name"])
        assert said.code == 0
        assert entry["summary"] in said.out
        for leaked in ("FieldInfo", "Validator", "0x", "typing."):
            assert leaked not in said.out, f"{entry['name']} shows {leaked}"


def test_an_unknown_component_is_suggested(fgl: Callable[..., CliResult]) -> None:
    said = fgl("plugins", "show", "atributes")
    assert said.code == 2
    assert "did you mean 'attributes'" in said.err


def test_digest_of_nothing_is_an_error(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    said = fgl("digest", str(tmp_path))
    assert said.code == 7
    assert "no synthetic set" in said.err


def test_a_dry_run_computes_and_writes_nothing(fgl: Callable[..., CliResult], tmp_path: Path, pipeline: Path) -> None:
    said = fgl("run", "--dry-run", "--json", "--generator", "stable-diffusion", "--set", f"generator.model={pipeline}")
    assert said.code == 0
    plan = json.loads(said.out)
    assert len(plan["dry_run"]["clients"]) == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_main_job_prints_its_table_and_where_the_report_is(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    """What `make run` runs, on the shipped generator and data, with hardly any images, steps and epochs. A batch is
    paid for in full, however few images are in it."""
    said = fgl(
        "run",
        "--out",
        "run",
        "--images-per-class",
        "2",
        "--set",
        "baselines=all",
        "--set",
        "classifier.epochs=1",
        "--set",
        "rounds.local_epochs=1",
        "--set",
        "classifier.image_size=16",
        "--set",
        "classifier.batch_size=256",
        "--set",
        "generator.batch_size=10",
        "--set",
        "generator.num_inference_steps=2",
    )
    assert said.code == 0, said.err
    for title in (
        "fgl one-shot, class-name prompts",
        "fgl one-shot, attributes prompts",
        "server knows only the class list",
        "FedAvg, one round",
        "local only",
        "trained the generator",
        "centralized: real data of all clients",
    ):
        assert title in said.out
    assert "the bundled one" in said.err
    assert "run/report.md" in said.out
    assert (tmp_path / "run" / "report.md").exists()
    assert len(list((tmp_path / "run" / "sheets").iterdir())) == 10
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["device"] in ("cpu", "cuda", "mps")
    assert any(one["distribution"] == "fgl-example-prompts" for one in environment["plugins"])


def test_unreadable_images_left_out_are_counted(
    fgl: Callable[..., CliResult], pipeline: Path, images: Callable[..., Path], tmp_path: Path
) -> None:
    folder = images()
    (folder / "river" / "bad.png").write_bytes(b"no picture")
    arguments = (
        "run", "--dataset", str(folder), "--partition", "iid", "--clients", "2", "--generator", "stable-diffusion",
        "--set", f"generator.model={pipeline}", "--set", "generator.num_inference_steps=1", "--images-per-class", "2",
        "--set", "classifier.epochs=1", "--set", "baselines=none", "--out", "run",
    )  # fmt: skip
    assert fgl(*arguments).code == 4
    said = fgl(*arguments, "--skip-bad-images")
    assert said.code == 0, said.err
    assert "left out 1 unreadable image" in said.err


def test_an_interrupted_run_says_how_to_go_on(
    fgl: Callable[..., CliResult], pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fgl.core.orchestrator.execute", stop)
    said = fgl("run", "--generator", "stable-diffusion", "--set", f"generator.model={pipeline}", "--out", "mine")
    assert said.code == 130
    assert "--out mine resumes from here" in said.err


def test_json_is_one_object_and_nothing_else(
    fgl: Callable[..., CliResult], pipeline: Path, images: Callable[..., Path]
) -> None:
    said = fgl(
        "run", "--json", "--dataset", str(images()), "--partition", "iid", "--clients", "2", "--images-per-class", "3",
        "--generator", "stable-diffusion", "--set", f"generator.model={pipeline}", "--set",
        "generator.num_inference_steps=1", "--set", "classifier.epochs=1", "--out", "run",
    )  # fmt: skip
    assert said.code == 0, said.err
    result = json.loads(said.out)
    assert {"schema_version", "run_dir", "result", "upload", "synthetic", "seconds", "baselines"} <= set(result)
    assert 0 <= result["result"]["selected"]["top1"] <= 1
    assert fgl("digest", "run").out.strip() == result["synthetic"]["digest"]
    again = fgl("run", "run/config.yaml", "--quiet", "--out", "run")
    assert (again.code, again.out, again.err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["run", "--resume", "nowhere"], 7, "nowhere is not a run directory"),
        (["run", "--resume", "nowhere", "--seed", "0", "--out", "x"], 2, "--seed, --out: got given; nothing beside"),
        (["run", "some.yaml", "--resume", "nowhere"], 2, "CONFIG.yaml: got given"),
        (["stages", "nowhere"], 7, "nowhere is not a run directory"),
        (["stages", "nowhere", "--config", "no.yaml"], 2, "no.yaml: got no such file"),
        (["digest", "nowhere"], 7, "holds no synthetic set"),
        (["digest"], 2, "Missing argument 'RUN'"),
        (
            ["client", "prepare", "--simulate", "--dataset", "bundled", "--client", "client-99"],
            4,
            "there is no client 'client-99'; there are client-0",
        ),
        (["client", "prepare"], 2, "Missing option '--client'"),
        (["client", "prepare", "no.yaml", "--client", "client-0"], 2, "no.yaml: got no such file"),
        (["server", "ingest", "run", "no.safetensors"], 2, "FILES: got no.safetensors; no such file"),
        (["server", "ingest", "run", "no.safetensors"], 2, "run is not started yet"),
        (["server", "ingest", "run"], 2, "Missing argument"),
        (["server", "run", "nowhere"], 7, "nowhere is not a run directory"),
        (["server", "forget", "nowhere", "--client", "a"], 7, "nowhere is not a run directory"),
        (["run", "--set", "upload.clients=[a]"], 2, "upload.clients: got 1 clients with data of their own"),
        (["run", "--set", "upload.clients=[a,a]"], 2, "expected ids that differ"),
        (["run", "--set", "upload.clients=[../a]"], 2, "upload.clients.0"),
        (["run", "--set", "upload.min_clients=0"], 2, "upload.min_clients"),
        (["run", "--set", "upload.max_rows=x"], 2, "upload.max_rows: got 'x'; expected a whole number"),
        (["run", "--set", "generatr.steps=3"], 2, "generatr: got {steps: 3}; unknown key: did you mean 'generator'?"),
        (["stages", "nowhere", "--set", "generatr.steps=3"], 7, "nowhere is not a run directory"),
        (["run", "--dry-run", "--out", "a-file"], 2, "--out: got a-file; expected a folder, or a path"),
        (["run", "--dry-run", "--out", "a-file/below"], 2, "--out: got a-file/below; expected a folder"),
        (
            ["client", "prepare", "--simulate", "--dataset", "bundled", "--client", "a", "--private", "a-file"],
            2,
            "--private: got a-file; expected a folder",
        ),
        (
            ["client", "prepare", "--simulate", "--dataset", "bundled", "--client", "a", "--out", "a-folder"],
            2,
            "--out: got a-folder; expected the path of a",
        ),
        (["server", "ingest", "a-file", "a-file", "--set", "seed=1"], 7, "cannot write to a-file: File exists; choose"),
        (["digest", "a-file"], 7, "a-file holds no synthetic set"),
        (["config", "show", "a-folder"], 2, "a-folder: is a directory; expected YAML text"),
        (
            ["run", "--prompt-strategy", "prompts-file", "--set", "prompt_strategy.path=x.csv"],
            2,
            "prompt_strategy.path: got 'x.csv'; there is no such file",
        ),
    ],
)
def test_each_wrong_word_to_the_later_commands_is_one_clear_line(
    fgl: Callable[..., CliResult], arguments: list[str], code: int, word: str, tmp_path: Path
) -> None:
    (tmp_path / "a-file").write_text("")
    (tmp_path / "a-folder").mkdir()
    said = fgl(*arguments)
    assert said.code == code, said.err
    # usage errors come in a frame as wide as the terminal: words may be broken over lines
    assert " ".join(word.split()) in " ".join(said.err.replace("│", " ").split())
    assert "Traceback" not in said.err


def test_a_run_can_be_resumed_and_looked_at(
    fgl: Callable[..., CliResult], pipeline: Path, images: Callable[..., Path]
) -> None:
    said = fgl(
        "run", "--json", "--dataset", str(images(8)), "--partition", "iid", "--clients", "2", "--images-per-class", "3",
        "--generator", "stable-diffusion", "--set", f"generator.model={pipeline}", "--set",
        "generator.num_inference_steps=1", "--set", "classifier.epochs=1", "--out", "run",
    )  # fmt: skip
    assert said.code == 0, said.err
    first = json.loads(said.out)
    assert first["generator"]["dtype"] in ("float32", "bfloat16")
    again = json.loads(fgl("run", "--resume", "run", "--json", "--quiet").out)
    assert again["result"] == first["result"]
    assert "train" in again["reused_stages"]
    lines = fgl("stages", "run").out.splitlines()
    assert [line.split()[1] for line in lines] == ["done"] * 8
    changed = fgl("stages", "run", "--set", "classifier.epochs=2").out.splitlines()
    assert "classifier.options.epochs: 1 → 2" in next(line for line in changed if line.startswith("train"))
    assert "follows train" in next(line for line in changed if line.startswith("evaluate"))
    changed = fgl("stages", "run", "--set", "upload.codec=int8", "--set", "upload.run_id=b").out.splitlines()
    clients = next(line for line in changed if line.startswith("clients")).split("  ")[-1]
    assert sorted(clients.split("; ")) == ["upload.codec: fp16 → int8", "upload.run_id: '' → b"]


def test_plugins_with_hooks_and_commands_are_listed_and_shown(fgl: Callable[..., CliResult]) -> None:
    listed = fgl("plugins", "list")
    assert "hooks and commands:" in listed.out
    assert "commands: fgl example-prompts …" in listed.out
    found = json.loads(fgl("plugins", "list", "--json").out)["plugins"]
    assert [one["hooks"] for one in found if one["plugin"] == "example-prompts"] == [["fgl_register_commands"]]
    shown = fgl("plugins", "show", "example-prompts")
    assert shown.code == 0
    assert "prompt_strategy: seasons" in shown.out


def test_plugins_show_can_be_read_by_a_program(fgl: Callable[..., CliResult]) -> None:
    (one,) = json.loads(fgl("plugins", "show", "tiny", "--json").out)["components"]
    assert (one["family"], one["distribution"], one["problem"]) == ("generator", "fgl", "")
    model = next(option for option in one["options"] if option["name"] == "model")
    assert model["default"] == "embedded:tiny"
    assert model["description"]
