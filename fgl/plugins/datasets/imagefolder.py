"""A dataset in folders of image files."""

from __future__ import annotations

from pathlib import Path

from fgl.core.errors import DataError
from fgl.plugins.datasets.folders import Files, find, split_folders
from fgl.plugins.datasets.images import LazyImages, from_files
from fgl.plugins.datasets.labels import check_class_names
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
        class_names = check_class_names(options.class_names or sorted(set(train.classes)), f"'{train_root}'")
        found = {"train": _labelled(train, class_names)}
        if test_root is not None:
            test = find(test_root)
            if (test.domains is None) != (train.domains is None):
                kinds = {True: "class folders", False: "domain/class folders"}
                raise DataError(
                    f"'{train_root}' holds {kinds[train.domains is None]}, "
                    f"'{test_root}' {kinds[test.domains is None]}; expected the same layout in both"
                )
            found["test"] = _labelled(test, class_names)
        return assemble(Origin(root.name, source=str(root)), class_names, found, Checks.of(options))


def _folder(path: str, what: str) -> Path:
    folder = existing(path, what)
    if not folder.is_dir():
        raise DataError(f"{what} '{folder}' is a file; expected a folder of class folders")
    return folder


def _labelled(files: Files, class_names: tuple[str, ...]) -> LazyImages:
    position = {name: number for number, name in enumerate(class_names)}
    for path, name in zip(files.paths, files.classes, strict=True):
        if name not in position:
            raise DataError(
                f"'{path}' is of the class '{name}', which is not among the classes "
                f"({', '.join(class_names[:10])}{', ...' if len(class_names) > 10 else ''})"
            )
    return from_files(files.paths, [position[name] for name in files.classes], files.domains)
