"""What an upload reveals, printed for a person: `fgl client prepare` and `fgl client show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgl.commands._output import say, say_columns
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig

_LISTED = 100
"""Classes, domains or texts that are listed on a terminal."""


def print_draft(disclosure: dict[str, Any], config: RunConfig, dry_run: bool) -> None:
    """The data that an upload is made from, and the upload itself; of a dry run with its texts and fields."""
    from fgl.core.config.defaults import DEFAULTS

    data, simulated = disclosure["dataset"], disclosure["simulated"]
    say(f"dataset   {plain(data['name'])} ({data['kind']}), {plain(data['source'])}: {data['images']:,} images")
    if simulated:
        say(f"          simulated: a part of it, by the partition {config.partition.name}; not a site's own data")
    elif data["kind"] == DEFAULTS["dataset"]["name"]:
        say("          this data ships with fgl: it is not a site's own")
    for split, count in data["left_out"].items() if not simulated else ():
        say(f"          {count:,} more are of the split {split}, and are not used")
    if data["skipped"]:
        say(f"          {data['skipped']:,} cannot be read, and are not used (skip_bad_images)")
    loaded = disclosure["loaded"]
    if loaded is not None and loaded["parts"]:
        parts, size = plain(", ".join(loaded["parts"]), 200), f"{loaded['size_bytes']:,} bytes"
        say(f"model     of {config.generator.name}: {parts}; {loaded['parameters']:,} parameters, {size}")
    if disclosure["filters"]:
        say(f"filters   {plain(', '.join(disclosure['filters']), 200)}, in this order; what follows is what is left")
    print_upload(disclosure, texts=dry_run, fields=dry_run)
    if disclosure["notes"]:
        say(", ".join(f"{kind.replace('_', ' ')}: {count:,}" for kind, count in disclosure["notes"].items()))


def print_upload(disclosure: dict[str, Any], texts: bool, fields: bool = True) -> None:
    """An upload in plain words. disclosure: of `fgl.core.wire.disclosure`. texts: whether to list the prompts. fields:
    whether to list the arrays."""
    from fgl.core.wire.disclosure import FEW

    _print_head(disclosure)
    say()
    say("what whoever has the file can read from it:")
    _print_classes(disclosure)
    _print_prompts(disclosure, texts)
    if fields:
        say()
        say("its fields; apart from digests, and what is listed above, it holds nothing else:")
        _print_fields(disclosure)
    say()
    for sentence in disclosure["exposes"]:
        say(sentence)
    if disclosure["small_counts"]:
        small = [f"{_class_name(row)} {row['samples']:g}" for row in disclosure["small_counts"][:_LISTED]]
        say(f"warning: counts below {FEW} are sent exactly as they are: {', '.join(small)}")


def _print_head(disclosure: dict[str, Any]) -> None:
    codec = disclosure["codec"]
    run = repr(plain(disclosure["run_id"])) if disclosure["run_id"] else "without an id (upload.run_id)"
    say(f"upload    of {disclosure['client_id']}, for the run {run}, round {disclosure['round']}")
    say(f"size      {disclosure['bytes']:,} bytes, {disclosure['rows']:,} rows; sha256 {disclosure['sha256']}")
    encoder = f"; text encoder {plain(disclosure['encoder'], 80)}" if disclosure["encoder"] else ""
    say(f"codec     {codec}{encoder}")
    for name, (largest, rms) in disclosure["codec_error"].items():
        say(f"          {codec} is off by at most {largest:.3g} in {plain(name, 60)}, by {rms:.2%} of its RMS")


def _print_classes(disclosure: dict[str, Any]) -> None:
    from fgl.core.report.tables import Table

    rows = []
    for row in disclosure["classes"][:_LISTED]:
        samples = f"{row['samples']:,.6g}" if row["samples"] % 1 else f"{row['samples']:,.0f}"
        rows.append((_class_name(row), samples, f"{row['rows']:,}"))
    say_columns(Table(("class", "samples", "rows"), rows), 2)
    rest = len(disclosure["classes"]) - _LISTED
    if rest > 0:
        say(f"  and {rest:,} more classes (--json has them all)")
    if not disclosure["class_names_known"]:
        say(f"  class names are not in the file, only a digest of their list: {disclosure['class_list'][:16]}…")
    if disclosure["domains"]:
        counts = [f"{plain(name, 60)} {count:g}" for name, count in list(disclosure["domains"].items())[:_LISTED]]
        say(f"domains   samples of each: {', '.join(counts)}")


def _print_prompts(disclosure: dict[str, Any], texts: bool) -> None:
    where = ", as text" if disclosure["codec"] == "text" else "; the texts are not in the file"
    say(f"prompts   {disclosure['distinct_texts']:,} distinct texts of {disclosure['text_bytes']:,} bytes{where}")
    for kind, prefix in (("texts", "  "), ("negative_texts", "  not: ")) if texts else ():
        for text in disclosure[kind][:_LISTED]:
            say(f"{prefix}{plain(text)}")
        rest = len(disclosure[kind]) - _LISTED
        if rest > 0:
            say(f"  and {rest:,} more (--json has them all)")


def _print_fields(disclosure: dict[str, Any]) -> None:
    from fgl.core.report.tables import Table

    rows = []
    for field in disclosure["fields"]:
        shape, size = "×".join(map(str, field["shape"])), f"{field['bytes']:,} bytes"
        rows.append((plain(field["name"], 60), shape, field["dtype"], size, plain(field["what"], 160)))
    say_columns(Table(("",) * 5, rows, "lllrl"), 2)


def _class_name(row: dict[str, Any]) -> str:
    return f"number {row['class_id']}" if row["class"] is None else plain(row["class"], 60)
