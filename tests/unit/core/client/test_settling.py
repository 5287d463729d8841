"""An upload with noise: recorded before it leaves, drawn once for a question, refused where nobody counts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgl.core.client import policy, prepare, site
from fgl.core.client.policy import LEDGER, Policy, at_site, split
from fgl.core.client.spending import PrivacyLedger
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.wire import requests
from fgl.errors import BudgetError, ConfigError, PolicyError
from fgl.io import strict_json

NOISE = {"name": "gaussian-noise", "epsilon": 2.0}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(6):
            pixels = draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def _forget():
    yield
    site.release()


def _shared(**more: object) -> dict[str, object]:
    upload = {"clients": ["north", "south"], "codec": "fp32", "run_id": "r", "filters": [NOISE]}
    return {
        "dataset": {"class_names": ["cat", "dog", "fish"]},
        "method": {"name": "analytic", "space": "pixels"},
        "generator": {"name": "moments", "max_norm": 1.0, "space": "pixels"},
        **more,
        "upload": {**upload, **more.get("upload", {})},  # type: ignore[dict-item]
    }


def _site(images: Path, home: Path, **own: object) -> Policy:
    section = {"ledger": str(home / "ledger"), "private": str(home / "private")}
    return split([{"dataset": {"name": "imagefolder", "path": str(images)}, **own, "site": section}], "site.yaml")


def _sent(shared: dict[str, object], rules: Policy, client: str = "north") -> bytes:
    asked = {"config": shared, "client_id": client, "round": 0, "device": "cpu", "data": ""}
    with at_site(rules):
        return prepare.prepare(strict_json.dumps(asked).encode())


def test_the_same_question_gets_the_same_file_and_another_one_is_added_up(images, tmp_path):
    rules = _site(images, tmp_path)
    first = _sent(_shared(), rules)
    kept = (tmp_path / "private" / "prompts.jsonl").read_bytes()
    assert _sent(_shared(), rules) == first
    assert (tmp_path / "private" / "prompts.jsonl").read_bytes() == kept, "counts of a draw that was never sent"
    elsewhere = split(
        [*rules.own, {"site": {"ledger": str(tmp_path / "ledger"), "private": str(tmp_path / "p2")}}], "s"
    )
    assert _sent(_shared(), elsewhere) == first  # another private folder
    assert _sent(_shared(classifier={"name": "gaussian"}), rules) == first  # the server's affair
    ledger = PrivacyLedger(tmp_path / "ledger")
    (entry,) = ledger.entries()
    assert entry.level == "image"
    assert entry.epsilon == pytest.approx(2.0, rel=1e-3)
    assert entry.epsilon <= 2.0 * (1 + 1e-9)
    assert _sent(_shared(upload={"run_id": "other"}), rules) != first
    assert len(ledger.entries()) == 2
    assert ledger.entries()[1].epsilon_in_all == pytest.approx(2.95, abs=0.1)


def test_other_class_names_over_the_same_images_do_not_open_another_account(images, tmp_path):
    rules = _site(images, tmp_path, privacy={"max_epsilon": 2.5})
    _sent(_shared(), rules)
    with pytest.raises(BudgetError, match=r"this site's limit is 2\.5: this one is refused"):
        _sent(_shared(dataset={"class_names": ["cat", "dog"]}), rules)
    with pytest.raises(BudgetError, match="epsilon 2 is spent on these images already"):
        _sent(_shared(), rules, "south")
    assert len(PrivacyLedger(tmp_path / "ledger").entries()) == 1


def test_a_site_with_a_limit_answers_nothing_without_a_price(images, tmp_path):
    rules = _site(images, tmp_path, privacy={"max_epsilon": 2.5})
    with pytest.raises(BudgetError, match="an upload without noise has no epsilon that could be counted"):
        _sent(_shared(upload={"filters": []}), rules)
    section = {"tasks": ["upload", "probe"], "private": str(tmp_path / "p")}
    rules = split([*rules.own, {"site": section}], "site.yaml")
    asked = {"config": _shared(), "client_id": "north"}
    with (
        at_site(rules),
        pytest.raises(PolicyError, match="task: got 'probe'; expected nothing whose price is not known"),
    ):
        policy.allowed(asked, "probe")


def test_the_classes_that_a_client_lacks_have_a_row_like_the_others(images, tmp_path):
    rules = _site(images, tmp_path)
    config = rules.configure(_shared(), PluginManager.load())
    request = strict_json.loads(requests.prepare_request(config, "north", 0, tmp_path / "p", "cpu", ""))
    made = prepare.draft({**request, "ledger": str(tmp_path / LEDGER)})
    assert [prompt.class_id for prompt in made.prompts] == [0, 1, 2]
    assert not (tmp_path / LEDGER).exists()  # a draft spends nothing


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"upload": {"filters": ["min-samples:2", NOISE]}}, "expected it once, and first"),
        ({"upload": {"filters": [NOISE, NOISE]}}, "expected it once, and first"),
        ({"generator": {"name": "moments", "space": "pixels"}}, r"expected generator\.max_norm, to which features"),
        ({"upload": {"filters": [{**NOISE, "level": "client"}]}}, "expected image: of sums over images"),
    ],
)
def test_noise_that_would_promise_too_much_is_refused(images, tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        _sent(_shared(**more), _site(images, tmp_path))


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"evaluation": {"at_clients": True}}, "evaluation.at_clients"),
        ({"evaluation": {"quality": True}, "method": "fgl"}, "evaluation.real"),
        ({"rounds": {"count": 1}, "method": "fgl"}, "rounds.count"),
        ({"adaptation": {"rounds": 1}, "method": "fgl"}, "adaptation.rounds"),
    ],
)
def test_a_run_that_states_an_epsilon_reads_nothing_else_of_its_clients(section, key):
    noise = {**NOISE, "level": "client"} if "method" in section else NOISE
    config = {"method": "analytic", "upload": {"filters": [noise]}, **section}
    with pytest.raises(ConfigError, match=rf"{key}: .*without a price, and gaussian-noise states one"):
        resolve([config], PluginManager.load().registry)
