"""Drawings: what is in the file, and what stops it before any work."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from fgl import plots
from fgl.errors import ConfigError, MissingExtraError, StoreError
from fgl.plots.curves import Line, save_curves
from fgl.plots.heatmap import save_heatmap

pytest.importorskip("matplotlib")

AXES = ("client", "class")


def numbers(rows: int, columns: int, largest: int = 999) -> np.ndarray:
    return np.random.default_rng(0).integers(0, largest + 1, (rows, columns))


def draw(path: Path, counts: np.ndarray, names: list[str] | None = None) -> str:
    rows = [f"client-{row:02}" for row in range(len(counts))]
    assert save_heatmap(
        path, counts, rows, names or [f"kind {c}" for c in range(counts.shape[1])], "What is drawn", AXES
    )
    return path.read_text(encoding="utf-8") if path.suffix == ".svg" else ""


def test_names_and_counts_are_in_the_drawing(tmp_path: Path) -> None:
    counts = np.array([[3, 0, 417], [0, 28, 5]])
    svg = draw(tmp_path / "a.svg", counts, ["river", "sea & lake", "cost $1$ or $2$"])
    for text in (
        "client-00",
        "client-01",
        "river",
        "sea &amp; lake",
        "cost $1$ or $2$",
        "What is drawn",
        ">417<",
        ">28<",
        ">3<",
        ">5<",
    ):
        assert text in svg, text
    assert ">0<" not in svg


def test_counts_are_left_out_where_they_do_not_fit_and_names_are_not(tmp_path: Path) -> None:
    counts = numbers(20, 100) + 1000
    svg = draw(tmp_path / "a.svg", counts)
    assert all(f">kind {column}<" in svg for column in range(100))
    assert all(f">client-{row:02}<" in svg for row in range(20))
    assert f">{int(counts[0, 0])}<" not in svg


def test_twenty_clients_and_a_hundred_classes_are_large_enough_to_read(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", numbers(20, 100))
    with Image.open(tmp_path / "a.png") as image:
        # A label of 8 points is 13 pixels high at 120 dots an inch.
        assert image.width > 100 * 20
        assert image.height > 20 * 26


def test_none_at_all_is_white_and_one_is_not(tmp_path: Path) -> None:
    counts = np.full((4, 4), 500)
    counts[:2] = 0
    counts[2] = 1
    draw(tmp_path / "a.png", counts)
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    colors = {tuple(int(v) for v in color) for color in pixels}
    assert (255, 255, 255) in colors
    light = [c for c in colors if c[2] > c[0] + 20 and c[0] > 180]
    assert light, "a count of one must be seen beside none"


def test_the_same_table_is_the_same_file(tmp_path: Path) -> None:
    for suffix in (".svg", ".png"):
        draw(tmp_path / f"a{suffix}", numbers(3, 3))
        draw(tmp_path / f"b{suffix}", numbers(3, 3))
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("counts", [np.zeros((2, 2), int), np.array([[7]]), numbers(600, 2), np.full((2, 3), 10**7)])
def test_odd_tables_are_drawn_too(tmp_path: Path, counts: np.ndarray) -> None:
    draw(tmp_path / "a.png", counts)
    assert Image.open(tmp_path / "a.png").width > 100


def test_an_earlier_drawing_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("old")
    assert "<svg" in draw(tmp_path / "a.svg", numbers(2, 2))
    assert [file.name for file in tmp_path.iterdir()] == ["a.svg"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write")
def test_a_file_that_cannot_be_written_is_said() -> None:
    with pytest.raises(StoreError, match=r"cannot write /proc/a\.png"):
        save_heatmap(Path("/proc/a.png"), numbers(2, 2), ["a", "b"], ["c", "d"], "x", AXES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pdf", r"expected a file that ends in \.png or \.svg"),
        ("a", r"expected a file that ends in \.png or \.svg"),
        ("none/a.png", "there is no folder .*none; create it first"),
        ("folder.png", "it is a folder; expected a file in it"),
        ("file/a.png", "there is no folder .*file"),
    ],
)
def test_what_cannot_be_drawn_to_is_said_before_the_work(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=f"--plot.*{message}"):
        plots.check(tmp_path / name, "--plot")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plots.check(tmp_path / "a.PNG", "--plot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as it is where it is not installed
    with pytest.raises(MissingExtraError, match="pip install matplotlib"):
        plots.check(tmp_path / "a.png", "--plot")


def test_series_that_are_equal_are_both_seen_and_said_to_be_equal(tmp_path: Path) -> None:
    points = [(0.0, [0.5, 0.6]), (1.0, [0.6, 0.7])]
    lines = [Line("fgl", points), Line("class list", points), Line("fedavg", [(0.0, [0.1]), (1.0, [0.2])])]
    save_curves([tmp_path / "a.svg"], lines, "Top-1", ("setting", "top-1"), names=["small", "large"])
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "class list (the same as fgl)" in svg
    assert svg.count("(the same as") == 1


def test_the_axis_of_one_round_has_no_parts_of_a_round(tmp_path: Path) -> None:
    path = tmp_path / "one.svg"
    save_curves([path], [Line("one", [(1, [0.5])])], "title", ("communication rounds", "top-1"))
    ticks = [text.text or "" for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    assert "1" in ticks
    assert not [text for text in ticks if text.startswith(("0.", "1."))]


def test_a_roc_fills_its_picture(tmp_path: Path) -> None:
    from fgl.plots.roc import Roc, save_roc

    grid = np.geomspace(1e-3, 1, 20).tolist()
    lines = [Roc(f"a method of some length, with its attack {index}", grid, grid, index) for index in range(6)]
    save_roc([tmp_path / "roc.png"], lines, "Membership inference", 1e-3)
    with Image.open(tmp_path / "roc.png") as image:
        dark = np.asarray(image.convert("L")) < 40
        # the frame of the axes: the longest dark runs
        width = dark.sum(axis=1).max()
        assert width > 0.75 * image.width


def test_a_drawing_of_hostile_names_is_xml_and_shows_them(tmp_path: Path) -> None:
    names = ["\x1b[31mred", "a\nb", "\u202eevil", "<script>x</script>", "$a$ $b$"]
    draw(tmp_path / "a.svg", np.ones((2, len(names)), dtype=int), names)
    lines = [Line(name, [(0, [0.5]), (1, [0.6])]) for name in names]
    save_curves([tmp_path / "b.svg"], lines, names[0], ("x", "y"), names=names[:2])
    for name in ("a.svg", "b.svg"):
        said = "".join(ElementTree.parse(tmp_path / name).getroot().itertext())
        for shown in ("\\x1b[31mred", "a b", "\\u202eevil", "<script>x</script>"):
            assert shown in said
        assert "<script" not in (tmp_path / name).read_text(encoding="utf-8")
