"""Each rule of a site says approve or refuse, at its bound and beyond it."""

from __future__ import annotations

from typing import Any

import pytest

from fgl.core.client import egress
from fgl.core.client.policy import split
from fgl.core.client.site_options import EgressOptions
from fgl.core.wire.kinds import Contents
from fgl.core.wire.signatures import Place
from fgl.errors import ConfigError

PLACE = Place(kind="upload", run="r", client_id="north", round=0)
FILE = Contents(place=PLACE, says=[], codec="fp16", images=[1.0, 5.0], groups={"images of class x": 6.0})
TEXTS = Contents(place=PLACE, says=[], codec="text", images=[5.0], texts=["a mole"])
SCORES = Contents(place=Place(kind="probe", run="r", client_id="north", round=0), says=[], groups={"images": 9.0})


def verdicts(
    rules: dict[str, Any], file: Contents, epsilon: float | None = None, found: tuple[int, int] | None = None
) -> dict[str, bool]:
    return {one.rule: one.allowed for one in egress.judge(EgressOptions(**rules), file, epsilon, found)}


@pytest.mark.parametrize(
    ("rules", "file", "allowed"),
    [
        ({"kinds": ["probe"]}, FILE, False),
        ({"kinds": ["probe"]}, SCORES, True),
        ({"codecs": ["int8"]}, FILE, False),
        ({"codecs": ["int8", "fp16"]}, FILE, True),
        ({"min_images_per_row": 2}, FILE, False),
        ({"min_images_per_row": 5}, TEXTS, True),
        ({"min_images_per_number": 6}, FILE, True),
        ({"min_images_per_number": 7}, FILE, False),
        ({"min_images_per_number": 10}, SCORES, False),
        ({"free_text": False}, TEXTS, False),
        ({"free_text": False}, FILE, True),
        ({"free_text": False}, Contents(place=PLACE, says=[], names=["ward 7"]), False),
    ],
)
def test_a_rule_decides(rules: dict[str, Any], file: Contents, allowed: bool) -> None:
    assert verdicts(rules, file) == {next(iter(rules)): allowed}


def test_what_no_ledger_prices_and_no_attack_has_tried_is_refused() -> None:
    assert verdicts({"max_epsilon": 2.0}, FILE) == {"max_epsilon": False}
    assert verdicts({"max_epsilon": 2.0}, FILE, epsilon=2.0) == {"max_epsilon": True}
    assert verdicts({"max_epsilon": 2.0}, FILE, epsilon=2.1) == {"max_epsilon": False}
    assert verdicts({"max_recovered": 0.5}, FILE) == {"max_recovered": False}
    assert verdicts({"max_recovered": 0.5}, FILE, found=(1, 2)) == {"max_recovered": True}
    assert verdicts({"max_recovered": 0.5}, FILE, found=(2, 2)) == {"max_recovered": False}


def test_numbers_with_noise_pass_by_a_price_alone() -> None:
    vote = Contents(place=Place(kind="vote", run="r", client_id="north", round=1), says=[], blurred=True)
    assert verdicts({"min_images_per_number": 5}, vote) == {"min_images_per_number": False}
    assert verdicts({"min_images_per_number": 5}, vote, epsilon=1.0) == {"min_images_per_number": True}
    assert verdicts({"min_images_per_number": 1}, vote) == {}


def test_without_rules_nothing_is_judged_and_a_rule_that_does_not_apply_is_silent() -> None:
    assert verdicts({}, FILE) == {}
    assert verdicts({"codecs": ["fp16"], "min_images_per_row": 9, "max_recovered": 0.0}, SCORES) == {}


@pytest.mark.parametrize(
    ("section", "word"),
    [
        ({"min_images": 3}, "site.egress.min_images: got 3; unknown option"),
        ({"kinds": ["vot"]}, "expected kinds of files that leave a client"),
        ({"max_epsilon": -1}, "site.egress.max_epsilon: got -1; expected more than 0"),
        ({"free_text": "no"}, "site.egress.free_text: got 'no'; expected true or false"),
        ([], "site.egress: got []"),
    ],
)
def test_a_wrong_rule_is_refused_in_one_line(section: Any, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split([{"site": {"egress": section}}], "site.yaml")
    assert word in str(caught.value)
