"""Built-in datasets. Light: nothing here reads an image."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component

_SMOKE = {"max_per_class": 40}


@hookimpl
def fgl_datasets() -> list[Component]:
    return [
        Component(
            name="bundled",
            target="fgl.plugins.datasets.bundled:Bundled",
            options="fgl.plugins.datasets.options:BundledOptions",
            summary="small datasets inside the package: eurosat, fashion_mnist, emoji (32x32, no download)",
            smoke=_SMOKE,
        ),
        Component(
            name="imagefolder",
            target="fgl.plugins.datasets.imagefolder:ImageFolder",
            options="fgl.plugins.datasets.options:ImageFolderOptions",
            summary="a folder of class folders, or of domain/class folders",
            smoke=_SMOKE,
        ),
        Component(
            name="parquet",
            target="fgl.plugins.datasets.parquet:Parquet",
            options="fgl.plugins.datasets.options:ParquetOptions",
            summary="a parquet file, or a folder with train.parquet and test.parquet",
            smoke=_SMOKE,
            # in a folder, in data/ as the Hub has it, or in folders named after configurations or splits
            opens=(
                "*.parquet",
                *(f"*/{inside}.parquet" for inside in ("*", "data/*", "train/*", "*/train*", "*/train/*")),
            ),
        ),
        Component(
            name="npz",
            target="fgl.plugins.datasets.npz:Npz",
            options="fgl.plugins.datasets.options:NpzOptions",
            summary="one .npz file of arrays, as MedMNIST is published",
            smoke=_SMOKE,
            opens=("*.npz",),
        ),
        Component(
            name="hf",
            target="fgl.plugins.datasets.hf:HuggingFace",
            options="fgl.plugins.datasets.options:HuggingFaceOptions",
            summary="a dataset of the Hugging Face Hub, or a local folder that `datasets` can read",
            smoke=_SMOKE,
            opens=("*/dataset_info.json", "*/dataset_dict.json"),
        ),
    ]
