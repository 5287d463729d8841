"""The synthetic set on disk: the plan and its shards.

An image is known by its id, seed and draw, and comes out the same in whatever shard it lies, as long as the recipe (the
generator and what rounds its numbers) is the same. So when the plan changes, images move: shards of the earlier plan
are kept aside until the new ones are filled, and only images that nobody has made are synthesized.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from fgl.contracts.generator import PlanItem, Shard
from fgl.contracts.product import Product
from fgl.core.seeds import image_seed
from fgl.core.store.owned import digest_of, file_digest
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import JsonObject, from_json, to_json
from fgl.core.synthesis import forms
from fgl.errors import StoreError
from fgl.io import files
from fgl.text import first_line

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.core.synthesis.forms import Form


_COLUMNS = (
    "shard",
    "image_id",
    "conditioning",
    "conditioning_id",
    "class_id",
    "domain",
    "guidance_scale",
    "seed",
    "draw",
)
_Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image, or an item of another product, as it was made. item: that of the plan, or of a later draw. data: the
    encoded file, see `Form.encode`."""

    item: PlanItem
    data: bytes


class ShardRow(TypedDict):
    """A row of a shard beside its pixels, as parquet has it."""

    label: int
    image_id: str
    conditioning_id: str
    domain: str
    seed: int
    draw: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The commit of a shard."""

    recipe: str
    """Digest of what determines an image beside its item."""
    items: str
    """See `items_digest`."""
    images: int
    """How many it holds."""
    sha256: str
    """Of the parquet file."""
    notes: JsonObject = field(default_factory=dict)
    """The generator's, on what was made."""


def write_plan(run: RunDir, path: Path, shards: Sequence[Shard]) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for shard in shards:
        for item in shard.items:
            columns["shard"].append(shard.index)
            for name in _COLUMNS[1:]:
                columns[name].append(getattr(item, name))
    run.write(path, _parquet(pa.table(columns)))


def read_plan(path: Path) -> list[Shard]:
    """Raises StoreError where it cannot be read."""
    shards: dict[int, list[PlanItem]] = {}
    try:
        for row in pq.read_table(path).to_pylist():
            shards.setdefault(row.pop("shard"), []).append(PlanItem(**row))
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged: {first_line(error)}; run again to redo it") from error
    return [Shard(index, tuple(items)) for index, items in sorted(shards.items())]


@dataclass(slots=True)
class ShardStore:
    """The shards in one folder, all of one recipe. recipe: digest of what determines an image beside its item. seed: of
    the run, from which all draws of an image follow. product: what the generator yields."""

    run: RunDir
    folder: Path
    recipe: str
    class_names: Sequence[str]
    seed: int = 0
    product: Product = field(default_factory=Product)
    _places: dict[_Key, tuple[Path, int]] = field(default_factory=dict)

    def done(self, shard: Shard) -> bool:
        """Whether the shard is committed, holds just these items, and is undamaged."""
        manifest = self._manifest(self._path(shard.index))
        return manifest is not None and manifest.items == items_digest(shard)

    def is_committed(self, shard: Shard) -> bool:
        """Whether the shard has a manifest, its last file. Nothing is read."""
        return self._path(shard.index).with_suffix(".json").exists()

    def begin(self, shards: Sequence[Shard]) -> list[Shard]:
        """Those of `shards` that are not there yet. Sets aside what is of another plan, and notes which of its images
        can be used again; drops what is of another recipe."""
        left = [shard for shard in shards if not self.done(shard)]
        kept = {shard.index for shard in shards} - {shard.index for shard in left}
        for path in self._own(self.folder, ".parquet"):
            if number(path) not in kept:
                self._set_aside(path)
        # of a shard that was removed by hand
        lone = [path for path in self._own(self.folder, ".json") if not path.with_suffix(".parquet").exists()]
        self.run.remove(*lone)
        if left:
            self._look_aside()
        return left

    def join(self, shards: Sequence[Shard]) -> list[Shard]:
        """As `begin`, beside other processes that fill shards of the same plan: nothing is moved or removed."""
        left = [shard for shard in shards if not self.done(shard)]
        if left:
            self._look_aside()
        return left

    def is_begun(self, shards: Sequence[Shard]) -> bool:
        """Whether `begin` and `announce` have been called for these shards, so that others may join. Reads manifests,
        and no images."""
        paths = {self._path(shard.index): shard for shard in shards}
        if not all(self.run.name_of(path) in self.run.ledger for path in paths):
            return False
        manifests = {path: self.run.read_sealed(path.with_suffix(".json")) for path in self._own(self.folder, ".json")}
        return all(
            manifest is not None
            and manifest.get("recipe") == self.recipe
            and path.with_suffix(".parquet") in paths
            and manifest.get("items") == items_digest(paths[path.with_suffix(".parquet")])
            for path, manifest in manifests.items()
        )

    def _look_aside(self) -> None:
        """Note which images of earlier plans can be used again."""
        for path in self._own(self._aside, ".parquet"):
            if self._manifest(path) is None:
                continue
            columns = pq.read_table(path, columns=["image_id", "seed", "draw"]).to_pydict()
            for row, key in enumerate(zip(*columns.values(), strict=True)):
                self._places[self._planned(key)] = (path, row)

    def announce(self, shards: Sequence[Shard]) -> None:
        """Note the files of shards before they are begun, so that whoever writes them has nothing to note: several
        processes may, and the ledger is written by one."""
        paths = [self._path(shard.index) for shard in shards]
        self.run.note(*paths, *(path.with_suffix(".json") for path in paths))

    @property
    def places(self) -> Mapping[_Key, tuple[Path, int]]:
        """Where images of earlier plans lie: the file and the row."""
        return self._places

    def _planned(self, key: _Key) -> _Key:
        """The key of a shard's image in its plan: draws before the accepted one were blanked, and would be again."""
        image_id, seed, draw = key
        again = draw > 0 and seed == image_seed(self.seed, image_id, draw)
        return (image_id, image_seed(self.seed, image_id), 0) if again else key

    def missing(self, items: Sequence[PlanItem]) -> tuple[PlanItem, ...]:
        """Those of `items` that no earlier plan's shard holds."""
        return tuple(item for item in items if key_of(item) not in self._places)

    def write(self, shard: Shard, made: Mapping[str, EncodedImage], notes: Mapping[str, object] | None = None) -> None:
        """Fill and commit a shard: parquet that `datasets.load_dataset("parquet", …)` opens with decoded images and
        named labels; then its manifest, which is the commit. made: image id → what was made of the items that no
        earlier shard holds. notes: the generator's, on what was made."""
        earlier_images, earlier_notes = self._found([item for item in shard.items if item.image_id not in made])
        drawn = [made[item.image_id] if item.image_id in made else earlier_images[key_of(item)] for item in shard.items]
        form = self.form
        table = pa.table(
            {
                form.column: form.packed([image.data for image in drawn]),
                "label": pa.array([item.class_id for item in shard.items], pa.int64()),
                "image_id": [item.image_id for item in shard.items],
                "conditioning_id": [item.conditioning_id for item in shard.items],
                "domain": [item.domain for item in shard.items],
                "seed": pa.array([image.item.seed for image in drawn], pa.int64()),
                "draw": pa.array([image.item.draw for image in drawn], pa.int64()),
            }
        )
        described = json.dumps(_features(self.class_names, form), allow_nan=False).encode()
        data = _parquet(table.replace_schema_metadata({b"huggingface": described, **form.metadata()}))
        path = self._path(shard.index)
        self.run.write(path, data)
        manifest = Manifest(
            recipe=self.recipe,
            items=items_digest(shard),
            images=len(shard.items),
            sha256=hashlib.sha256(data).hexdigest(),
            notes=joined([*earlier_notes, notes or {}]),
        )
        self.run.write_sealed(path.with_suffix(".json"), to_json(manifest))

    def notes(self, shards: Sequence[Shard]) -> JsonObject:
        """The generator's notes on all of the shards, in whatever processes they were made."""
        return joined([self._notes(self._path(shard.index)) for shard in shards])

    def end(self, shards: Sequence[Shard]) -> None:
        """All of `shards` are committed: remove those of other plans, here or set aside."""
        planned = {shard.index for shard in shards}
        self.run.remove(*(path for path in self._own(self.folder) if number(path) not in planned))
        self.run.remove_below(self._aside)
        self._places.clear()

    @property
    def form(self) -> Form:
        """How its items are kept."""
        return forms.of_product(self.product)

    @property
    def _aside(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.previous")

    def _path(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.parquet"

    def _notes(self, path: Path) -> JsonObject:
        """Of a committed, undamaged shard; none of any other."""
        manifest = self._manifest(path)
        return {} if manifest is None else manifest.notes

    def _manifest(self, path: Path) -> Manifest | None:
        """Of a committed, undamaged shard of this recipe."""
        sealed = self.run.read_sealed(path.with_suffix(".json"))
        if sealed is None or sealed.get("recipe") != self.recipe:
            return None
        manifest = from_json(Manifest, sealed)
        try:
            return manifest if manifest.sha256 == file_digest(path) else None
        except StoreError:
            return None

    def _set_aside(self, path: Path) -> None:
        """Move a shard out of the way, its manifest last: a shard without one is no commit anywhere."""
        manifest = self._manifest(path)
        if manifest is None:
            self.run.remove(path, path.with_suffix(".json"))
            return
        aside = self._aside / f"shard-{number(path):05d}-{manifest.sha256[:16]}.parquet"
        try:
            files.make_folders(self.run.root, self._aside)
            self.run.note(aside)
            # A second name, not a move: killed in between, the shard is a commit in both places or in the old one.
            if not aside.exists():
                os.link(path, aside)
        except OSError:  # a file system without hard links
            self.run.write(aside, files.read_bytes(path))
        self.run.write_sealed(aside.with_suffix(".json"), to_json(manifest))
        self.run.remove(path.with_suffix(".json"), path)

    def _own(self, folder: Path, suffix: str = "") -> list[Path]:
        """Shards in a folder that fgl wrote, in order; other files are left alone."""
        here = (path for path in self.run.owned() if path.parent == folder and path.name.startswith("shard-"))
        return sorted(path for path in here if (not suffix or path.suffix == suffix) and path.exists())

    def _found(self, items: Sequence[PlanItem]) -> tuple[dict[_Key, EncodedImage], list[Mapping[str, object]]]:
        """What an earlier plan's shards hold of the items, as it was drawn, and the notes of those shards."""
        wanted: dict[Path, list[tuple[PlanItem, int]]] = {}
        for item in items:
            if key_of(item) in self._places:
                path, row = self._places[key_of(item)]
                wanted.setdefault(path, []).append((item, row))
        images_by_key: dict[_Key, EncodedImage] = {}
        for path, rows in wanted.items():
            table = pq.read_table(path, columns=[self.form.column, "seed", "draw"])
            images, seeds, draws = (table.column(name) for name in (self.form.column, "seed", "draw"))
            encoded = self.form.encoded(images, [row for _, row in rows])
            for (item, row), data in zip(rows, encoded, strict=True):
                drawn = replace(item, seed=seeds[row].as_py(), draw=draws[row].as_py())
                images_by_key[key_of(item)] = EncodedImage(drawn, data)
        return images_by_key, [self._notes(path) for path in wanted]


def joined(notes: Sequence[Mapping[str, object]]) -> JsonObject:
    """Notes merged in order: of lists, every entry that any has; of anything else, the last value."""
    merged: JsonObject = {}
    for shard_notes in notes:
        for key, value in shard_notes.items():
            so_far = merged.get(key)
            if isinstance(so_far, list) and isinstance(value, list):
                merged[key] = [*so_far, *(entry for entry in value if entry not in so_far)]
            else:
                merged[key] = value
    return merged


def read_shards(folder: Path, shards: Sequence[Shard] | None = None) -> Iterator[tuple[ShardRow, Array]]:
    """Each image of the set, or item of another product, with its row, a shard in memory at a time. shards: just these
    of the plan; None reads what is there. Raises StoreError for a shard that is missing, of another plan, without
    manifest or with other bytes."""
    wanted = (
        None if shards is None else {folder / f"shard-{one.index:05d}.parquet": items_digest(one) for one in shards}
    )
    for path in sorted(folder.glob("shard-*.parquet")) if wanted is None else wanted:
        manifest = RunDir.read_sealed(path.with_suffix(".json"))
        if manifest is None:
            raise StoreError(f"shard {number(path)} of {folder} has no sound manifest: it was never committed")
        if wanted is not None and manifest.get("items") != wanted[path]:
            raise StoreError(f"{path} holds other images than the plan asks for; run again to redo it")
        if manifest.get("sha256") != file_digest(path):
            raise StoreError(f"{path} is damaged: its bytes are not those that were committed; run again to redo it")
        table = pq.read_table(path)
        form = forms.of_table(table)
        rows: list[Any] = table.drop_columns([form.column]).to_pylist()
        yield from zip(rows, form.decoded(table.column(form.column)), strict=True)


def items_digest(shard: Shard) -> str:
    """sha256 of the identities of a shard's images, in order."""
    return digest_of([[item.image_id, item.class_id, item.domain, item.seed, item.draw] for item in shard.items])


def number(path: Path) -> int:
    return int(path.stem.split("-")[1])


def key_of(item: PlanItem) -> _Key:
    return item.image_id, item.seed, item.draw


def _parquet(table: pa.Table) -> bytes:
    """Pictures are compressed already, and no two are equal: to compress them again, look for equal ones and note the
    smallest took four times as long, while the generator waits."""
    items = {"image": ("image.bytes", "image.path"), "values": ("values.list.element",)}
    buffer, plain = io.BytesIO(), [name for name in table.column_names if name not in items]
    large = [part for name in table.column_names for part in items.get(name, ())]
    codecs = {**dict.fromkeys(large, "none"), **dict.fromkeys(plain, "snappy")}
    pq.write_table(table, buffer, compression=codecs, use_dictionary=plain, write_statistics=plain)
    return buffer.getvalue()


def _features(class_names: Sequence[str], form: Form) -> Mapping[str, object]:
    value = {"dtype": "string", "_type": "Value"}
    number = {"dtype": "int64", "_type": "Value"}
    return {
        "info": {
            "features": {
                form.column: form.feature(),
                "label": {"names": list(class_names), "_type": "ClassLabel"},
                "image_id": value,
                "conditioning_id": value,
                "domain": value,
                "seed": number,
                "draw": number,
            }
        }
    }
