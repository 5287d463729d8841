"""A dataset in folders of image files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fgl.errors import DataError
from fgl.plugins.datasets.base import Checks, Loaded, LoadedOnce, Origin, assemble
from fgl.plugins.datasets.class_list import ListedClasses, resolve
from fgl.plugins.datasets.folder_layout import Files, Splits, find, split_folders
from fgl.plugins.datasets.images import from_files
from fgl.plugins.datasets.options import ImageFolderOptions
from fgl.plugins.datasets.paths import existing
from fgl.text import escaped


class ImageFolder(LoadedOnce):
    """<class>/<image> or <domain>/<class>/<image>, in `path` itself or in train/ and test/ (or val/) below it.

    Classes are the folders' names, sorted. Images stay on disk and are decoded on demand.
    """

    def __init__(self, options: ImageFolderOptions) -> None:
        self.options = options

    def _load(self) -> Loaded:
        options = self.options
        root = _folder(options.path, "the image folder")
        given = None if options.test_path is None else _folder(options.test_path, "the test folder")
        splits = split_folders(root, given)
        train_root, test_root = splits.train, splits.test
        train = find(train_root)
        files = {"train": train}
        if test_root is not None:
            files["test"] = test = find(test_root)
            if (test.domains is None) != (train.domains is None):
                kinds = {True: "class folders", False: "domain/class folders"}
                raise DataError(
                    f"'{train_root}' holds {kinds[train.domains is None]}, "
                    f"'{test_root}' {kinds[test.domains is None]}; expected the same layout in both"
                )
        class_names, labels = resolve(
            {split: images.classes for split, images in files.items()},
            options.own_names,
            lambda split, index: f"'{files[split].paths[index]}'",
            f"'{train_root}'",
            ListedClasses.of(options),
        )
        images = {split: from_files(each.paths, labels[split].tolist(), each.domains) for split, each in files.items()}
        if test_root is not None:
            _check_apart(files["train"].paths, files["test"].paths)
        origin = Origin(escaped(root.name), source=escaped(str(root)), notes=_notes(splits, files))
        return assemble(origin, class_names, images, Checks.of(options))


def _notes(splits: Splits, files: Mapping[str, Files]) -> tuple[str, ...]:
    several = len(files) > 1
    return (
        *splits.notes,
        *(f"{split}: {note}" if several else note for split, found in files.items() for note in found.notes),
    )


def _check_apart(train: Sequence[Path], test: Sequence[Path]) -> None:
    """Raise DataError if an image would be both trained on and tested on: one folder is inside the other."""
    both = {path.resolve() for path in train} & {path.resolve() for path in test}
    if both:
        raise DataError(
            f"{len(both)} images, such as '{escaped(str(min(both)))}', are in the training and the test split: "
            "test_path leads into path; move the test images out of it"
        )


def _folder(path: str, what: str) -> Path:
    folder = existing(path, what)
    if not folder.is_dir():
        raise DataError(f"{what} '{folder}' is a file; expected a folder of class folders")
    return folder
