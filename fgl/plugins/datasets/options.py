"""Options of the built-in datasets. Imports nothing heavy: configurations are checked without reading data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from fgl.contracts.options import Options, Revision

_LIMIT = (
    "Most images of each class, and of each domain in it, that are taken from each split, drawn by `seed`; null for "
    "all. For trying something out: no other image is opened."
)
_PROMPT_NAMES = (
    "What prompts call the classes, where a text encoder does not know their names: a mapping of class names, such as "
    "{RBC: red blood cell}, or a list in label order. Class names stay what labels and reports have."
)
_SKIP = "Leave out images that cannot be decoded, and list them, instead of stopping at them."


class BundledOptions(Options):
    """Which of the datasets inside the package to use."""

    short_option: ClassVar[str] = "subset"

    subset: Literal["eurosat", "fashion_mnist", "emoji"] = Field("eurosat", description="Name of the bundled dataset.")
    domains: list[str] = Field(
        default_factory=list, description="Keep only samples of these domains; empty keeps all (only emoji has any)."
    )
    skip_bad_images: bool = Field(
        False, description="Use a damaged copy of the data without its unreadable images, instead of refusing it."
    )
    max_per_class: int | None = Field(None, ge=1, description=_LIMIT)
    seed: int = Field(0, ge=0, description="Seed of what max_per_class takes; unused without it.")
    prompt_names: list[str] | dict[str, str] | None = Field(None, description=_PROMPT_NAMES)


class SplitOptions(Options):
    """What every dataset that may lack a test split has in common."""

    short_option: ClassVar[str] = "path"

    test_fraction: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Fraction (0 to 1) of each class held out as the test split, where the data brings no test split.",
    )
    seed: int = Field(0, ge=0, description="Seed of that hold-out, and of what max_per_class takes.")
    skip_bad_images: bool = Field(False, description=_SKIP)
    holds: Literal["all", "train", "test"] = Field(
        "all",
        description="What these images are: all, of which a test split is held out where there is none; train, a "
        "client's own, which need no test split; test, a server's, of which none is trained on.",
    )
    class_names: list[str] | None = Field(
        None,
        min_length=2,
        description="Class names in label order, where these images may lack some, or in another order than that of "
        "`labels`; the same at clients and server.",
    )
    labels: dict[str, str] | None = Field(
        None,
        description="Label in the data (a folder's name, a text, a number) to class name, in label order; several "
        "labels may be one class, and a class name is a label of itself. The data must have all of the classes, unless "
        "`holds` says that it is a part.",
    )
    unlisted_labels: Literal["refuse", "leave out"] = Field(
        "refuse", description="What becomes of images whose label `labels` does not name."
    )
    max_per_class: int | None = Field(None, ge=1, description=_LIMIT)
    prompt_names: list[str] | dict[str, str] | None = Field(None, description=_PROMPT_NAMES)

    @field_validator("labels", "prompt_names", mode="before")
    @classmethod
    def _yaml_reads_digits_as_numbers(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            str(key) if isinstance(key, int) and not isinstance(key, bool) else key: name for key, name in value.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _labels_order_the_classes(cls, given: Any) -> Any:
        """A mapping loses its order in more than one format, a list does not."""
        if not isinstance(given, dict) or not isinstance(given.get("labels"), dict) or given.get("class_names"):
            return given
        return {**given, "class_names": list(dict.fromkeys(given["labels"].values()))}

    @model_validator(mode="after")
    def _one_class_list(self) -> SplitOptions:
        if self.labels is None:
            if self.unlisted_labels != "refuse":
                raise ValueError("unlisted_labels: given without labels")
            return self
        lost = sorted(set(self.class_names or ()) ^ set(self.labels.values()))
        if lost:
            raise ValueError(f"labels: its class names are not those of class_names: {', '.join(lost[:5])}")
        return self

    def local_paths(self) -> tuple[str, ...]:
        return ("path", "test_path") if "test_path" in type(self).model_fields else ("path",)

    @property
    def own_names(self) -> list[str] | None:
        """What the labels in the data are called, where the options say so and leave nothing to map."""
        return self.class_names if self.labels is None else None


class ImageFolderOptions(SplitOptions):
    """A folder of class folders, or of domain folders that hold class folders."""

    path: str = Field(min_length=1, description="Folder with class folders, or with train/ and test/ (or val/).")
    test_path: str | None = Field(
        None, min_length=1, description="Folder of the test split, laid out like `path`; overrides a test/ below it."
    )


class ParquetOptions(SplitOptions):
    """A parquet file or a folder of them."""

    path: str = Field(
        min_length=1,
        description="A .parquet file, or a folder with train.parquet and optionally test.parquet, public.parquet and "
        "meta.json.",
    )
    image_column: str = Field("image", description="Column of encoded images: binary, or a struct with `bytes`.")
    label_column: str = Field("label", description="Column of labels: integers from 0, or class names.")
    domain_column: str | None = Field(
        None, description="Column of domain names; where it is not given, `domain` is used if there is one."
    )


class NpzOptions(SplitOptions):
    """Arrays in one .npz file, as MedMNIST has them."""

    path: str = Field(
        min_length=1,
        description="A .npz file with train_images and train_labels, and test_ (or val_) likewise where there are any.",
    )


class HuggingFaceOptions(SplitOptions):
    """A dataset that the `datasets` library reads."""

    path: str = Field(
        min_length=1,
        description="Hub id (owner/name), or a local folder from save_to_disk or readable by load_dataset.",
    )
    config: str | None = Field(None, description="Configuration (subset) of the dataset, where it has several.")
    revision: Revision | None = Field(None, description="Git revision on the Hub; a commit hash makes runs repeatable.")
    train_split: str = Field("train", description="Split that clients hold.")
    test_split: str | None = Field(
        None, description="Test split; where it is not given, test or validation is used if there is one."
    )
    image_column: str | None = Field(None, description="Image column; found from the features where it is not given.")
    label_column: str | None = Field(None, description="Label column; found from the features where it is not given.")
    domain_column: str | None = Field(
        None, description="Domain column; where it is not given, `domain` is used if there is one."
    )

    def is_here(self) -> bool:
        return super().is_here() or (_cache() / self.path.replace("/", "___")).is_dir()


def _cache() -> Path:
    """Where the library `datasets` keeps what it has prepared. Found without importing it, which takes seconds."""
    if "HF_DATASETS_CACHE" in os.environ:
        return Path(os.environ["HF_DATASETS_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "datasets"
