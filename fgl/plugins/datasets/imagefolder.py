"""A dataset in folders of image files."""

from __future__ import annotations

from pathlib import Path

from fgl.core.errors import DataError
from fgl.plugins.datasets.folders import find, split_folders
from fgl.plugins.datasets.images import from_files
from fgl.plugins.datasets.labels import Listed, resolve
from fgl.plugins.datasets.loaded import Checks, Loaded, LoadedOnce, Origin, assemble
from fgl.plugins.datasets.options import ImageFolderOptions
from fgl.plugins.datasets.paths import existing


class ImageFolder(LoadedOnce):
    """<class>/<image> or <domain>/<class>/<image>, in `path` itself or in train/ and test/ (or val/) below it.

    Classes are the folders' names, sorted. Images stay on disk and are decoded when asked for.
    """

    def __init__(self, options: ImageFolderOptions) -> None:
        self.options = options

    def _load(self) -> Loaded:
        options = self.options
        root = _folder(options.path, "the image folder")
        train_root, test_root = split_folders(root)
        if options.test_path is not None:
            test_root = _folder(options.test_path, "the test folder")
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
            {split: found.classes for split, found in files.items()},
            options.own_names,
            lambda split, index: f"'{files[split].paths[index]}'",
            f"'{train_root}'",
            Listed.of(options),
        )
        found = {split: from_files(each.paths, labels[split].tolist(), each.domains) for split, each in files.items()}
        return assemble(Origin(root.name, source=str(root)), class_names, found, Checks.of(options))


def _folder(path: str, what: str) -> Path:
    folder = existing(path, what)
    if not folder.is_dir():
        raise DataError(f"{what} '{folder}' is a file; expected a folder of class folders")
    return folder
