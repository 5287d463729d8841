"""`fgl privacy`: the statement in words, and for programs."""

from __future__ import annotations

import json

from fgl.core.client.policy import LEDGER
from fgl.core.client.spending import PrivacyLedger, Protected, Spending
from fgl.core.config.resolve import resolve
from fgl.core.config.saved import save_config
from fgl.core.plugin_manager import PluginManager
from fgl.core.store.run_dir import RunDir
from fgl.privacy import Cost, mu_of


def _begun(folder, config):
    save_config(RunDir(folder), resolve([config], PluginManager.load().registry))
    return str(folder)


def test_it_prints_the_price_in_words_and_as_json(tmp_path, fgl):
    config = {
        "method": "analytic",
        "generator": {"name": "moments", "max_norm": 1.0},
        "upload": {"codec": "fp32", "filters": ["gaussian-noise:2"]},
    }
    run = _begun(tmp_path / "run", config)
    images = Protected.of([number.to_bytes(16, "big") for number in range(1000)])
    ledger = PrivacyLedger(tmp_path / "run" / "clients" / "a" / "private" / LEDGER)
    ledger.record(Spending("key", "an upload", "image", Cost(mu_of(1.0, 1e-5)), images), b"")
    said = fgl("privacy", run)
    assert said.code == 0
    assert "Guarantee: (epsilon, delta) = (1, 1e-05)" in said.out
    assert "an upload" in said.out
    got = json.loads(fgl("privacy", run, "--json").out)
    assert got["holds"]
    assert round(got["epsilon"], 6) == 1
    assert [one["what"] for one in got["clients"]["a"]["answers"]] == ["an upload"]


def test_a_run_that_claims_nothing_and_a_folder_that_is_no_run(tmp_path, fgl):
    said = fgl("privacy", _begun(tmp_path / "run", {}))
    assert said.out.startswith("No differential privacy is claimed for this run.")
    nowhere = fgl("privacy", str(tmp_path / "nothing"))
    assert nowhere.code == 7
    assert "is not a run directory" in nowhere.err


def test_a_cut_ledger_is_one_line(tmp_path, fgl):
    run = _begun(tmp_path / "run", {})
    ledger = PrivacyLedger(tmp_path / "run" / "clients" / "a" / "private" / LEDGER)
    ledger.record(Spending("key", "an upload", "image", Cost(1.0), Protected.of([b"a" * 16])), b"")
    (ledger.folder / "ledger.jsonl").write_bytes(b"")
    said = fgl("privacy", run)
    assert said.code == 7
    assert "it has 0 whole lines, expected 2: it was cut" in said.err
