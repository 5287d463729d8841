"""How images lie in folders: class folders, or domain folders that hold class folders, below split folders or not."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from fgl.core.errors import DataError

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
TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")  # the first that is there is used


@dataclass(frozen=True, slots=True)
class Files:
    """The images of one split, in an order that does not depend on the file system. domains: None in a plain layout."""

    paths: list[Path]
    classes: list[str]
    domains: list[str] | None


def split_folders(root: Path) -> tuple[Path, Path | None]:
    """(folder of the training images, folder of the test images or None).

    train/ and test/ are taken for splits only where nothing else lies beside them, so a class may be called "train".
    """
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    if not folders or not set(folders) <= {*TRAIN, *TEST}:
        return root, None
    train = next((folders[name] for name in TRAIN if name in folders), None)
    test = next((folders[name] for name in TEST if name in folders), None)
    if train is None:
        raise DataError(
            f"'{root}' holds {', '.join(sorted(folders))} but no train folder; "
            "expected train/ beside it, or class folders"
        )
    return train, test


def find(root: Path) -> Files:
    """The images below `root`, classes named by their folders (in Unicode's composed form).

    Raises DataError where the folder is empty, holds no images, images outside class folders, mixed depths, or a class
    folder without images."""
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
        raise DataError(
            f"'{root}' holds no images: {len(first)} folders, none with a file that ends in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    full = flat or deep
    bare = next((folder for folder in first if folder not in full), None)
    if bare is not None:
        raise DataError(f"the folder '{bare}' holds no images; add some or remove it")
    return _domains(deep, nested) if deep else _classes(flat, direct)


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
                f"the class name '{_name(folder)}' is there twice below '{folder.parent}', in two Unicode spellings; "
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
    return [folder / entry.name for entry in _entries(folder) if entry.is_dir()]


def _images(folder: Path) -> list[Path]:
    return [
        folder / entry.name
        for entry in _entries(folder)
        if entry.is_file() and os.path.splitext(entry.name)[1].lower() in SUFFIXES
    ]
