"""A client's ledger: what was answered is answered alike, never paid for twice, and never above the limit."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fgl.core.client.spending import (
    ANSWERS,
    HEAD,
    IMAGES,
    LEDGER,
    Limit,
    PrivacyLedger,
    Protected,
    Spending,
    delta_warning,
    request_key,
)
from fgl.errors import BudgetError, LedgerError, PolicyError, StoreError, public_message
from fgl.privacy import Cost, add_noise, mu_of


def _images(*numbers: int) -> Protected:
    return Protected.of([number.to_bytes(16, "big") for number in numbers])


ALL = _images(*range(100))
ONE = Cost(mu_of(1.0, 1e-5))
"""Costs epsilon 1."""


def _vote(name: str = "vote", cost: Cost = ONE, images: Protected = ALL, level: str = "image") -> Spending:
    return Spending(request_key({"name": name}), f"the {name}", level, cost, images)  # type: ignore[arg-type]


def _noise() -> bytes:
    return bytes(add_noise(np.zeros(4), 1.0).tobytes())


def test_what_was_answered_is_handed_out_again_and_paid_for_once(tmp_path):
    ledger = PrivacyLedger(tmp_path / "ledger", Limit(1.0))
    assert ledger.held(_vote().key) is None
    first = ledger.record(_vote(), _noise())
    for again in (ledger, PrivacyLedger(tmp_path / "ledger"), PrivacyLedger(tmp_path / "ledger", Limit(0.01))):
        assert again.record(_vote(), _noise()) == first == again.held(_vote().key)
    (entry,) = ledger.entries()
    assert (entry.what, entry.level, entry.count, entry.size) == ("the vote", "image", 100, 32)
    assert entry.epsilon == pytest.approx(1) == entry.epsilon_in_all
    assert ledger.spent(ALL, "image").epsilon(1e-5) == pytest.approx(1)


def test_the_limit_holds_whoever_asks_and_says_what_is_spent(tmp_path):
    ledger = PrivacyLedger(tmp_path, Limit(1.5))
    ledger.record(_vote("first"), b"1")
    said = r"costs epsilon 1 .*epsilon 1 is spent .*with it 1\.4.*limit is 1\.2"
    with pytest.raises(BudgetError, match=said) as error:
        PrivacyLedger(tmp_path, Limit(1.2)).check(_vote("second"))
    assert isinstance(error.value, PolicyError)
    dear = _vote("second", Cost(mu_of(1.35, 1e-5)))
    for refused in (ledger.check, lambda one: ledger.record(one, b"2")):
        with pytest.raises(BudgetError, match=r"with it 1\.7"):
            refused(dear)
    assert [one.what for one in ledger.entries()] == ["the first"]
    assert public_message(error.value) == (
        "BudgetError at the client: what was asked would cost more privacy than the site allows"
    )


def test_a_limit_below_what_is_spent_refuses_all_but_repeats(tmp_path):
    PrivacyLedger(tmp_path).record(_vote(), b"1")
    strict = PrivacyLedger(tmp_path, Limit(0.5))
    with pytest.raises(BudgetError, match="nothing more is answered about them"):
        strict.check(_vote("tiny", Cost(1e-6)))
    assert strict.record(_vote(), b"2") == b"1"


def test_answers_compose_in_squares(tmp_path):
    ledger = PrivacyLedger(tmp_path)
    for number in range(3):
        ledger.record(_vote(str(number), Cost(0.5, 0.01)), b"")
    spent = ledger.spent(ALL, "image")
    assert spent.mu == pytest.approx(0.5 * 3**0.5)
    assert spent.slack == pytest.approx(0.03)
    assert ledger.entries()[-1].epsilon_in_all == pytest.approx(spent.epsilon(1e-5))


def test_the_same_images_under_another_name_are_the_same_images(tmp_path):
    ledger = PrivacyLedger(tmp_path, Limit(1.2))
    ledger.record(_vote("all"), b"")
    for images in (_images(*range(99, -1, -1)), _images(*range(50)), _images(99, 100, 101)):
        with pytest.raises(BudgetError):
            ledger.check(_vote("part", images=images))
    ledger.record(_vote("others", images=_images(*range(100, 200))), b"")
    # from here on both are about what overlaps with both
    assert ledger.spent(_images(99, 100), "image").mu == pytest.approx(ONE.mu * 2**0.5)


def test_levels_are_priced_into_each_other(tmp_path):
    ledger = PrivacyLedger(tmp_path)
    ledger.record(_vote("client", level="client"), b"")
    assert ledger.spent(ALL, "client").mu == pytest.approx(ONE.mu)
    assert ledger.spent(ALL, "image").mu == pytest.approx(2 * ONE.mu)
    ledger.record(_vote("image"), b"")
    assert ledger.spent(ALL, "client").mu == pytest.approx(ONE.mu * (1 + 100**2) ** 0.5)


def test_all_of_it_is_for_the_owner_alone(tmp_path):
    old = os.umask(0)
    try:
        PrivacyLedger(tmp_path / "at" / "home").record(_vote(), b"1")
    finally:
        os.umask(old)
    for path in (tmp_path / "at" / "home").rglob("*"):
        if path.name != ".lock":
            assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "at" / "home").stat().st_mode & 0o077 == 0


def _cut(folder: Path) -> None:
    path = folder / LEDGER
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _cut_within_a_line(folder: Path) -> None:
    path = folder / LEDGER
    path.write_bytes(path.read_bytes()[:-10])


def _edit(folder: Path) -> None:
    path = folder / LEDGER
    path.write_bytes(path.read_bytes().replace(b'"epsilon": 1.0', b'"epsilon": 0.1').replace(b'"mu": 0.', b'"mu": 0.0'))


def _edit_last(folder: Path) -> None:
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    lines[-1] = lines[-1].replace(b'"mu": 0.', b'"mu": 0.0')
    (folder / LEDGER).write_bytes(b"".join(lines))


def _reorder(folder: Path) -> None:
    first, *lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    (folder / LEDGER).write_bytes(b"".join([first, *reversed(lines)]))


def _drop_one(folder: Path) -> None:
    first, _, *lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    (folder / LEDGER).write_bytes(b"".join([first, *lines]))


def _forge(folder: Path) -> None:
    lines = (folder / LEDGER).read_bytes()
    (folder / LEDGER).write_bytes(lines + b'{"after": "", "format": 1}\n')


HARM: list[Callable[[Path], object]] = [
    _cut,
    _cut_within_a_line,
    _edit,
    _edit_last,
    _reorder,
    _drop_one,
    _forge,
    lambda folder: (folder / LEDGER).unlink(),
    lambda folder: (folder / HEAD).unlink(),
    lambda folder: ((folder / HEAD).unlink(), (folder / LEDGER).unlink()),
    lambda folder: (folder / HEAD).write_bytes(b"[" * 100_000),
    lambda folder: (folder / LEDGER).write_bytes(b""),
    lambda folder: (folder / LEDGER).write_bytes(b"\xff\x00\n" * 5),
]


@pytest.mark.parametrize("harm", HARM)
def test_a_ledger_that_was_cut_edited_or_reordered_is_refused_in_one_line(tmp_path, harm):
    ledger = PrivacyLedger(tmp_path)
    for number in range(3):
        ledger.record(_vote(str(number)), str(number).encode())
    harm(tmp_path)
    for call in (
        ledger.entries,
        lambda: ledger.held(_vote("0").key),
        lambda: ledger.check(_vote("new")),
        lambda: ledger.record(_vote("new"), b"new"),
    ):
        with pytest.raises(LedgerError, match="what was spent cannot be known, so nothing is answered") as error:
            call()
        assert "\n" not in str(error.value)
        assert str(tmp_path) in str(error.value)


def test_an_answer_that_is_gone_is_not_drawn_again(tmp_path):
    ledger = PrivacyLedger(tmp_path)
    ledger.record(_vote(), b"1")
    (answer,) = (tmp_path / ANSWERS).iterdir()
    answer.write_bytes(b"2")
    with pytest.raises(LedgerError, match="it was the answer to the vote, and a new one would be paid for again"):
        ledger.record(_vote(), b"3")
    assert len(ledger.entries()) == 1


def test_a_list_of_images_that_is_gone_is_not_taken_for_other_images(tmp_path):
    ledger = PrivacyLedger(tmp_path)
    ledger.record(_vote(), b"1")
    (tmp_path / IMAGES / ALL.digest).unlink()
    with pytest.raises(LedgerError, match="damaged or gone"):
        ledger.check(_vote("part", images=_images(1)))


def test_no_link_is_followed(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / LEDGER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        PrivacyLedger(tmp_path / "ledger").record(_vote(), b"1")
    assert (tmp_path / "elsewhere").read_bytes() == b""


STEPS = ("fsync", "replace", "open", "ftruncate", "write")


def _dies_at(step: int, work: Callable[[], None]) -> bool:
    """Whether a child that does the work was killed before its `step`-th call of the operating system."""
    child = os.fork()
    if not child:
        count = 0

        def deadly(call):
            def counted(*args, **more):
                nonlocal count
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **more)

            return counted

        for name in STEPS:
            setattr(os, name, deadly(getattr(os, name)))
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("earlier", [0, 1])
def test_killed_at_any_step_nothing_is_answered_twice(tmp_path, earlier):
    step, killed = 0, True
    seen = set()
    while killed:
        step += 1
        folder, left = tmp_path / f"ledger-{step}", tmp_path / f"left-{step}"
        ledger = PrivacyLedger(folder, Limit(1.5))
        for number in range(earlier):
            ledger.record(_vote(f"earlier {number}", Cost(0.01)), b"earlier")

        def work(ledger=ledger, left=left) -> None:
            left.write_bytes(ledger.record(_vote(), _noise()))

        killed = _dies_at(step, work)
        held = ledger.held(_vote().key)
        seen.add(held is not None)
        if left.exists() and left.stat().st_size:
            assert left.read_bytes() == held
        again = ledger.record(_vote(), _noise())
        assert held in (None, again)
        assert [one.what for one in ledger.entries()][earlier:] == ["the vote"]
        assert ledger.record(_vote(), _noise()) == again
    assert step > 10
    assert seen == {True, False}


def test_a_line_that_was_cut_off_by_a_kill_is_dropped(tmp_path):
    ledger = PrivacyLedger(tmp_path)
    ledger.record(_vote(), b"1")
    with (tmp_path / LEDGER).open("ab") as file:
        file.write(b'{"key": "ab')
    assert len(ledger.entries()) == 1
    ledger.record(_vote("next"), b"2")
    assert len(ledger.entries()) == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mu", 1e308),
        ("mu", "1"),
        ("mu", True),
        ("slack", -1),
        ("level", "nobody"),
        ("count", -5),
        ("count", 1.5),
        ("count", "many"),
        ("images", 7),
        ("images", "../images"),
        ("answer", ["a"]),
        ("answer", None),
        ("epsilon", 1e301),
        ("what", {}),
    ],
)
def test_a_line_with_what_no_answer_has_is_refused_though_the_chain_holds(tmp_path, field, value):
    ledger = PrivacyLedger(tmp_path)
    ledger.record(_vote(), b"1")
    first, line = (tmp_path / LEDGER).read_bytes().splitlines()
    made = json.dumps({**json.loads(line), field: value}).encode()
    (tmp_path / LEDGER).write_bytes(first + b"\n" + made + b"\n")
    (tmp_path / HEAD).write_text(json.dumps({"lines": 2, "last": hashlib.sha256(made).hexdigest()}))
    for act in (ledger.entries, lambda: ledger.check(_vote("next")), lambda: ledger.held(_vote().key)):
        with pytest.raises(LedgerError, match="line 2"):
            act()


def test_a_first_line_that_was_cut_off_by_a_kill_is_written_again(tmp_path):
    (tmp_path / LEDGER).write_bytes(b'{"format":1,"aft')
    ledger = PrivacyLedger(tmp_path)
    assert ledger.record(_vote(), b"1") == b"1"
    assert len(ledger.entries()) == 1


def test_of_many_processes_at_once_one_spends_the_last_of_the_budget(tmp_path):
    read, write = os.pipe()
    children = []
    for number in range(6):
        if not (child := os.fork()):
            try:
                os.close(write)
                os.read(read, 1)  # all begin when the parent closes its end
                PrivacyLedger(tmp_path, Limit(1.0)).record(_vote(str(number)), _noise())
                os._exit(0)
            except BudgetError:
                os._exit(2)
            finally:
                os._exit(1)
        children.append(child)
    os.close(write)
    codes = sorted(os.WEXITSTATUS(os.waitpid(child, 0)[1]) for child in children)
    os.close(read)
    assert codes == [0, 2, 2, 2, 2, 2]
    assert len(PrivacyLedger(tmp_path).entries()) == 1


def test_of_many_processes_with_one_question_all_hand_out_the_same(tmp_path):
    children = []
    for number in range(4):
        if not (child := os.fork()):
            try:
                (tmp_path / f"got-{number}").write_bytes(PrivacyLedger(tmp_path / "l").record(_vote(), _noise()))
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert len({(tmp_path / f"got-{number}").read_bytes() for number in range(4)}) == 1
    assert len(PrivacyLedger(tmp_path / "l").entries()) == 1


def test_a_delta_that_is_too_large_is_said_to_be(tmp_path, caplog):
    assert delta_warning(1e-5, 1000) == ""
    assert "a mechanism that publishes one image in 100" in delta_warning(0.01, 100)
    PrivacyLedger(tmp_path, Limit(5.0, 0.01)).record(_vote(), b"")
    assert "delta 0.01 is not below 1 / 100" in caplog.text


def test_a_question_is_the_same_in_any_order_of_its_words():
    assert request_key({"a": 1, "b": [2]}) == request_key({"b": [2], "a": 1}) != request_key({"a": 1, "b": [3]})


def test_the_ledger_is_lines_of_json_that_a_person_can_read(tmp_path):
    PrivacyLedger(tmp_path).record(_vote(), b"1")
    begin, line = [json.loads(line) for line in (tmp_path / LEDGER).read_text().splitlines()]
    assert begin == {"format": 1, "after": ""}
    assert {"what": "the vote", "level": "image", "delta": 1e-5}.items() <= line.items()
