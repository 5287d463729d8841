"""Upload filters in a whole run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import fgl
from fgl.core.client import private_folder, site
from fgl.io import yaml_text
from tests.helpers.cli import run_cli
from tests.helpers.settings import small, write_noise

ATTRIBUTES = {"name": "attributes"}


@pytest.fixture
def run(tmp_path, pipeline):
    (tmp_path / "images").mkdir()
    data = write_noise(tmp_path / "images", per_class=6)
    site.release()

    def start(name, **changes):
        fgl.run(small(data, pipeline, **changes), out=tmp_path / name, progress=False)
        return tmp_path / name, json.loads((tmp_path / name / "report.json").read_text())

    return start


def test_averaging_at_the_clients_gives_the_set_that_averaging_at_the_server_gives(run):
    """OSCAR's averaging, in its two places: the bytes are fewer, the images the same to the bit."""
    upload = {"codec": "fp32"}
    folder, clients = run(
        "clients", prompt_strategy=ATTRIBUTES, upload={**upload, "filters": ["aggregate"]}, baselines=["class-list"]
    )
    _, server = run(
        "server",
        prompt_strategy=ATTRIBUTES,
        upload=upload,
        aggregator={"name": "class-mean", "per_client": True},
        baselines="none",
    )
    assert clients["synthetic"]["digest"] == server["synthetic"]["digest"]
    assert clients["upload"]["bytes_total"] < server["upload"]["bytes_total"]
    assert all(rows == 3 for rows in clients["upload"]["prompts"].values())
    (filter_,) = clients["upload_filters"]
    assert filter_ == {"name": "aggregate", "distribution": "fgl", "does": {"aggregator": "class-mean"}}
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "clients were asked to apply the upload filter aggregate: aggregator class-mean" in report
    loaded = clients["client_model"]
    assert (loaded["whole"], loaded["parts"]) == (False, ["text_encoder"])
    assert (
        f"a client loads text_encoder: {loaded['parameters']:,} parameters, {loaded['bytes']:,} bytes"
        in report.replace("\\", "")
    )
    assert "upload_filters" not in server


def test_what_the_server_encodes_for_itself_passes_through_no_filter(run):
    """The rows that are sent have a norm of 1; those of the class list, which no client sends, do not."""
    folder, clipped = run("clipped", upload={"filters": [{"name": "clip", "max_norm": 1.0}]}, baselines=["class-list"])
    for path in sorted((folder / "server" / "uploads").glob("*.safetensors")):
        rows = load_file(path)["prompt_embeds"].astype(np.float64)
        np.testing.assert_allclose(np.sqrt((rows**2).sum(axis=(1, 2))), 1.0, rtol=1e-2)
    _, plain = run("plain", baselines=["class-list"])
    assert clipped["synthetic"]["digest"] != plain["synthetic"]["digest"]
    (row,) = clipped["baselines"]
    assert row["images"] is not None, "the class list asks for other images than the clipped rows"
    assert row["top1"] == next(one["top1"] for one in plain["baselines"])


def test_only_rows_that_are_encodings_of_texts_have_a_true_text_for_an_audit(run):
    """Clipped rows have, averaged ones have not."""
    for name, filters in (("clipped", ["clip:1"]), ("averaged", ["aggregate"])):
        folder, _ = run(name, prompt_strategy=ATTRIBUTES, upload={"filters": filters})
        texts = private_folder.texts(folder / "clients" / "client-00" / "private")
        assert (texts is not None) == (name == "clipped")


def test_a_run_without_filters_is_recorded_as_it_was_before_there_were_any(run):
    folder, _ = run("plain")
    record = json.loads((folder / "stages" / "clients.json").read_text())
    assert "filters" not in record["inputs"]
    assert "filters" not in record["inputs"]["upload"]


def test_a_dry_run_names_the_filters_and_one_that_cannot_be_built_ends_it(tmp_path, pipeline, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    data = write_noise(tmp_path / "images", per_class=4)
    (tmp_path / "run.yaml").write_text(yaml_text.dump(small(data, pipeline)))
    monkeypatch.chdir(tmp_path)
    fgl, flags = run_cli(monkeypatch, capsys), ["run", str(tmp_path / "run.yaml"), "--dry-run", "--upload-filter"]
    said = fgl(*flags, "min-samples:2", "--upload-filter", "clip:3")
    assert said.code == 0, said.err
    assert "upload filters: min-samples, clip" in said.out
    assert "prompts class-name → min-samples → clip, aggregator union" in said.err
    wrong = fgl(*flags, "aggregate:class-men")
    assert wrong.code == 2
    assert "did you mean 'class-mean'?" in wrong.err
