"""Layouts of image folders: class folders, or domain folders with class folders, with or without split folders."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from fgl.errors import DataError
from fgl.plugins.datasets.notes import is_folder, passed_over
from fgl.plugins.datasets.splits import TEST, TRAIN
from fgl.text import counted, some

SUFFIXES = frozenset(
    (
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    )
)


@dataclass(frozen=True, slots=True)
class Files:
    """The images of one split, in an order that does not depend on the file system."""

    paths: list[Path]
    """Their files."""

    classes: list[str]
    """The class name of each."""

    domains: list[str] | None
    """The domain of each; None in a layout without domains."""

    notes: tuple[str, ...] = ()
    """What was passed over."""


@dataclass(frozen=True, slots=True)
class Splits:
    """The folders of the splits."""

    train: Path
    """Folder of the training images."""

    test: Path | None
    """Folder of the test images, if there is one."""

    notes: tuple[str, ...] = ()
    """Folders that are neither."""


def split_folders(root: Path, test_path: Path | None = None) -> Splits:
    """Which folder below `root` is which split. test_path: folder of the test images, overriding one below `root`.

    train/ beside nothing but test/ (or val/) is always a split. Beside other folders it is a split only if it holds
    class folders, since a class may be called "train". Raises DataError if a folder called test would be trained on as
    a domain.
    """
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    names = [name for name in (*TRAIN, *TEST) if name in folders]
    if len(folders) == 1 and not names:  # one folder is not a class list: data/train/..., as archives unpack
        inner = next(iter(folders.values()))
        if any(child.name.lower() in TRAIN and _nested(child) for child in _folders(inner)):
            return split_folders(inner, test_path)
    train = next((folders[name] for name in TRAIN if name in folders), None)
    test = next((folders[name] for name in TEST if name in folders), None)
    if not names or (set(folders) != set(names) and not any(_nested(folders[name]) for name in names)):
        return Splits(root, test_path)
    if train is None and set(folders) == set(names):
        raise DataError(
            f"'{root}' holds {', '.join(sorted(folders))} but no train folder; "
            "expected train/ beside it, or class folders"
        )
    if train is None:
        assert test is not None
        others = some([folder.name for folder in folders.values() if folder.name.lower() not in names])
        raise DataError(
            f"'{test}' lies beside other folders ({others}): are its images a test split, or one more domain? For a "
            "test split put the others into a folder train beside it, or give path and test_path; a domain needs "
            "another name"
        )
    test = test_path or test
    left = [folder for folder in folders.values() if folder not in (train, test)]
    described = [f"{folder.name} ({counted(_count(folder), 'image')})" for folder in sorted(left)]
    used = f"'{train.name}' is used" if test is None else f"'{train.name}' and '{test.name}' are used"
    notes = [f"left out beside the splits: {some(described, 8)}; {used}"] if left else []
    return Splits(train, test, (*notes, *passed_over(root, (), 0)))


def _nested(folder: Path) -> bool:
    return any(_images(child) for child in _folders(folder))


def _count(folder: Path, depth: int = 3) -> int:
    return len(_images(folder)) + (sum(_count(child, depth - 1) for child in _folders(folder)) if depth else 0)


def find(root: Path) -> Files:
    """The images below `root`, with classes named after their folders (in Unicode's composed form).

    Raises DataError if the folder is empty, or holds no images, images outside class folders, mixed depths, or a class
    folder without images.
    """
    first = _folders(root)
    stray = _images(root)
    if not first and not stray:
        files = [entry.name for entry in _entries(root)]
        held = f"holds no images (it holds: {', '.join(files[:5])})" if files else "is empty"
        raise DataError(f"'{root}' {held}; expected folders named after the classes, with images in them")
    if stray:
        raise DataError(f"'{stray[0]}' lies outside any class folder; expected '{root}'/<class name>/<image>")
    direct = {folder: _images(folder) for folder in first}
    nested = {folder: {child: _images(child) for child in _folders(folder)} for folder in first}
    flat = [folder for folder in first if direct[folder]]
    deep = [folder for folder in first if any(nested[folder].values())]
    for children in nested.values():
        for child in children:
            lower = next((grandchild for grandchild in _folders(child) if _images(grandchild)), None)
            if lower is not None:
                raise DataError(
                    f"'{lower}' holds images three folders below '{root}'; "
                    "expected <class>/<image> or <domain>/<class>/<image>"
                )
    if flat and deep:
        raise DataError(
            f"'{root}' mixes two layouts: '{flat[0].name}' holds images, '{deep[0].name}' holds folders of images; "
            "expected <class>/<image> or <domain>/<class>/<image> throughout"
        )
    if not flat and not deep:
        notes = passed_over(root, (), 2)
        raise DataError(
            f"'{root}' holds no images: {len(first)} folders, none with a file that ends in "
            f"{', '.join(sorted(SUFFIXES))}{''.join(f'; {note}' for note in notes[:3])}"
        )
    full = flat or deep
    bare = next((folder for folder in first if folder not in full), None)
    if bare is not None:
        raise DataError(f"the folder '{bare}' holds no images; add some or remove it")
    for folder in (root, *deep):
        _check_links(folder)
    found = _domains(deep, nested) if deep else _classes(flat, direct)
    return replace(found, notes=tuple(passed_over(root, set(found.paths), 2)))


def _classes(folders: list[Path], direct: dict[Path, list[Path]]) -> Files:
    _unique(folders)
    paths = [path for folder in folders for path in direct[folder]]
    return Files(paths, [_name(path.parent) for path in paths], None)


def _domains(folders: list[Path], nested: dict[Path, dict[Path, list[Path]]]) -> Files:
    _unique(folders)
    paths = []
    for folder in folders:
        _unique(list(nested[folder]))
        paths += [path for images in nested[folder].values() for path in images]
    for children in nested.values():
        for child, images in children.items():
            if not images and _name(child) not in {_name(path.parent) for path in paths}:
                raise DataError(f"the class folder '{child}' holds no images, in no domain; add some or remove it")
    return Files(paths, [_name(path.parent) for path in paths], [_name(path.parent.parent) for path in paths])


def _unique(folders: list[Path]) -> None:
    seen: dict[str, Path] = {}
    for folder in folders:
        other = seen.setdefault(_name(folder), folder)
        if other is not folder:
            raise DataError(
                f"the class name '{_name(folder)}' occurs twice below '{folder.parent}', in two Unicode spellings; "
                "merge or rename the folders"
            )


def _name(folder: Path) -> str:
    # macOS writes "é" as two code points, Linux as one: the class is the same.
    return unicodedata.normalize("NFC", folder.name)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    except OSError as error:
        raise DataError(f"cannot read the folder '{folder}': {error.strerror}") from error
    return sorted(visible, key=lambda entry: entry.name)


def _folders(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in _entries(folder) if is_folder(entry)]


def _images(folder: Path) -> list[Path]:
    return [
        folder / entry.name
        for entry in _entries(folder)
        if os.path.splitext(entry.name)[1].lower() in SUFFIXES and _is_image(entry)
    ]


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is an image. A broken link counts as an unreadable image, so that it does not go unnoticed."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # a link to itself
        return True


def _check_links(folder: Path) -> None:
    """Raise DataError if a folder of images is a broken link."""
    for entry in _entries(folder):
        if entry.is_symlink() and not os.path.splitext(entry.name)[1] and not os.path.exists(entry.path):
            raise DataError(
                f"'{folder / entry.name}' is a link to '{os.readlink(entry.path)}', which does not exist; mount or "
                "download its target, or remove the link"
            )
