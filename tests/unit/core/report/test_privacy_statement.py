"""What is said of a run's privacy covers all that read the clients' images, or says that it does not."""

from __future__ import annotations

import pytest

from fgl.core.client.policy import LEDGER
from fgl.core.client.spending import PrivacyLedger, Protected, Spending
from fgl.core.config.resolve import resolve
from fgl.core.config.saved import save_config
from fgl.core.plugin_manager import PluginManager
from fgl.core.report.privacy_statement import NOTHING, in_words, section, statement
from fgl.core.store.run_dir import RunDir
from fgl.errors import LedgerError
from fgl.privacy import Cost, mu_of

IMAGES = Protected.of([number.to_bytes(16, "big") for number in range(1000)])
NOISED = {
    "method": "analytic",
    "generator": {"name": "moments", "max_norm": 1.0},
    "upload": {"codec": "fp32", "filters": ["gaussian-noise:2"]},
}


def _run(folder, config, answers=(), remote=False):
    registry = PluginManager.load().registry
    resolved, run = resolve([config], registry), RunDir(folder)
    save_config(run, resolved, remote)
    for client, what, level, epsilon in answers:
        ledger = PrivacyLedger(folder / "clients" / client / "private" / LEDGER)
        ledger.record(Spending(f"{what}", what, level, Cost(mu_of(epsilon, 1e-5)), IMAGES), what.encode())
    return statement(resolved, run, registry, remote)


def test_where_nothing_private_was_claimed_it_says_so_plainly(tmp_path):
    found = _run(tmp_path, {})
    assert in_words(found) == [NOTHING]
    assert not found.claimed
    assert not found.holds
    assert NOTHING in section(found)


def test_it_says_who_is_protected_from_whom_at_which_price(tmp_path):
    answers = [("a", "a vote", "image", 1.0), ("a", "an upload", "image", 1.0), ("b", "a vote", "image", 1.0)]
    found = _run(tmp_path, NOISED, answers)
    assert found.holds
    assert found.levels == ("image",)
    both = Cost(mu_of(1.0, 1e-5)) + Cost(mu_of(1.0, 1e-5))
    assert found.epsilon == pytest.approx(both.epsilon(1e-5))
    text = "\n".join(in_words(found))
    assert "Protected (level image): each single image of a client" in text
    assert f"(epsilon, delta) = ({found.epsilon:.4g}, 1e-05)" in text
    assert "Differentially private at the level of images" in "\n".join(section(found))


def test_what_has_no_price_takes_the_claim_back(tmp_path):
    config = {"baselines": ["class-list", "centralized"], "rounds": {"count": 1}}
    found = _run(tmp_path, config, [("a", "a vote", "client", 1.0)])
    assert found.claimed
    assert not found.holds
    assert found.not_private == ("centralized",)
    first, *rest = in_words(found)
    assert first.startswith("This run as a whole is NOT differentially private")
    assert "1 rounds: models trained" in first
    assert any(line.startswith("Baseline centralized: not private") for line in rest)
    assert "**Not differentially private as a whole.**" in "\n".join(section(found))


def test_exact_uploads_beside_noised_answers_are_named(tmp_path):
    (tmp_path / "server" / "uploads").mkdir(parents=True)
    (tmp_path / "server" / "uploads" / "a.safetensors").write_bytes(b"")
    found = _run(tmp_path, {}, [("a", "a vote", "image", 1.0)])
    assert found.uncounted == ("uploads without noise: rows, classes and exact counts",)


def test_levels_are_not_mixed_up(tmp_path):
    found = _run(tmp_path, NOISED, [("a", "a vote", "client", 1.0), ("a", "an upload", "image", 1.0)])
    mu = mu_of(1.0, 1e-5)
    assert found.levels == ("image",)
    assert found.epsilon == pytest.approx((Cost(2 * mu) + Cost(mu)).epsilon(1e-5))


def test_of_clients_elsewhere_only_what_was_asked_is_known(tmp_path):
    found = _run(tmp_path, NOISED, remote=True)
    assert found.epsilon is None
    assert found.holds
    assert any("Only each client's own ledger says" in line for line in in_words(found))


def test_a_delta_that_is_too_large_is_said_to_be(tmp_path):
    found = _run(tmp_path, {**NOISED, "privacy": {"delta": 0.01}}, [("a", "an upload", "image", 1.0)])
    assert any("delta 0.01 is not below 1 / 1000" in line for line in in_words(found))


def test_a_ledger_that_was_cut_makes_no_statement(tmp_path):
    _run(tmp_path, NOISED, [("a", "an upload", "image", 1.0)])
    (tmp_path / "clients" / "a" / "private" / LEDGER / "ledger.jsonl").write_bytes(b"")
    with pytest.raises(LedgerError, match="it was cut"):
        _run(tmp_path, NOISED)
