"""report.json, report.md and contact sheets: every number of a run, and pictures of what it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fgl.core.report import audit, clients, metrics, quality, rounds
from fgl.core.server import intake_record
from fgl.text import counted, fenced, plain
from fgl.text import markdown as md

if TYPE_CHECKING:
    from fgl.core.session import Session


SCHEMA_VERSION = 1
# Stages that measure: a run is not slower for what was asked of it beside.
_BESIDE = ("baseline:", "features:", "quality:", "evaluate:clients")


def audited(session: Session) -> dict[str, Any]:
    """Digests of what an audit is of: uploads, synthetic set and classifier, as they are recorded."""
    records = {name: session.run.recorded(name) for name in ("clients", "synthesize", "export")}
    known = {name: record for name, record in records.items() if record is not None}
    return {
        "uploads": known["clients"]["value"]["uploads"] if "clients" in known else None,
        "synthetic": known["synthesize"]["value"]["digest"] if "synthesize" in known else None,
        "model": known["export"]["inputs"]["model"] if "export" in known else None,
    }


def kept_audit(session: Session, of: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `fgl audit` found, None where there was no audit or one of something else. of: see `audited`."""
    found = session.run.read_sealed(session.run.path("audit", "audit.json"))
    return found if found is not None and found.get("of") == dict(of) else None


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The table: this run first, then its baselines."""
    own, after = result["result"], result["rounds"]
    prompts = f"{result['config']['prompt_strategy']['name']} prompts"
    seconds = {stage: value for stage, value in result["seconds"].items() if not stage.startswith(_BESIDE)}
    scores = own if after is None else own["one_shot"]
    one_shot = {
        "title": f"fgl one-shot, {prompts}",
        "top1": scores["selected"]["top1"],
        "last": scores["last"]["top1"],
        "bytes": result["upload"]["bytes_total"],
        "seconds": sum(value for stage, value in seconds.items() if stage != "rounds"),
        "note": "this run",
    }
    if after is None:
        return [one_shot, *result["baselines"], *metrics.reference_rows(result)]
    count, fine = len(after["rounds"]), result["config"]["rounds"]["server_epochs"]
    with_rounds = {
        "title": f"fgl, {count} round{'s' * (count > 1)} after it{', fine-tuned' if fine else ''}",
        "top1": own["last"]["top1"],
        "last": own["last"]["top1"],
        "bytes": one_shot["bytes"] + after["bytes_up"] + after["bytes_down"],
        "seconds": sum(seconds.values()),
        "note": f"{result['config']['algorithm']['name']}, model both ways",
    }
    own_rows = [{**one_shot, "note": "this run, before its rounds"}, with_rounds]
    return [*own_rows, *result["baselines"], *metrics.reference_rows(result)]


def markdown(session: Session, result: dict[str, Any], sheets: Sequence[Path]) -> str:
    """The report for people."""
    info, up = session.info, result["upload"]
    lines = [intake_record.title(session), ""]
    lines += [
        "| method | top-1 | top-1, last epoch | bytes sent | seconds | note |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows(result):
        lines.append(
            f"| {md(row['title'])} | {row['top1']:.1%} | {row['last']:.1%} | {row['bytes']:,} | {row['seconds']:.1f} | "
            f"{md(row['note'])} |"
        )
    test = result["result"]["selected"]["images"]
    kept_aside = result["synthetic"]["validation"]
    selection = result["synthetic"]["unselected"] or (
        f"The checkpoint is selected on a validation part of the synthetic set, {kept_aside:,} images."
    )
    used = "is used once, at the end"
    if result["rounds"] is not None:
        used = "is used for the one-shot model, and after rounds for the table of them; nothing is selected by it"
    lines += [
        "",
        f"Top-1 is measured on {test:,} real test images, the dataset's test split, which no client holds. {selection} "
        f"The test set {used}.",
        "",
        *([f"**{md(nothing)}**", ""] if (nothing := metrics.verdict(result["result"]["selected"])) else []),
        *_pictures(session, result, sheets)[:-1],
    ]
    fedavg = next((one["bytes"] for one in result["baselines"] if one["name"] == "fedavg"), None)
    lines += intake_record.section(result["intake"], up, fedavg)
    lines += ["", "The same rows, by codec; whole files, their headers included:", ""]
    lines += ["| codec | bytes | known | largest absolute error | relative RMS error |", "|---|---|---|---|---|"]
    lines += [_codec_row(codec, one, up["codec_error"].get(codec)) for codec, one in up["bytes_by_codec"].items()]
    lines += [
        "",
        "Errors are the clients' own account of what their codec did, the largest of any client and array; the "
        "relative one is ‖x − q‖ / ‖x‖ over an array. Only a codec that was used has them. What is measured is the "
        "size of the files that were sent.",
        "",
        *intake_record.table(result["intake"]),
        *intake_record.damaged_section(result["damaged"]),
    ]
    lines += rounds.rounds_section(result["rounds"])
    lines += intake_record.warnings_section(result["warnings"])
    missing = result["synthetic"]["missing_classes"]
    if missing:
        lines += [
            "",
            f"- no client holds these classes, so there is no image of them: {', '.join(map(md, missing))}",
        ]
    epoch = "the last epoch" if result["synthetic"]["unselected"] else "the selected epoch"
    model = epoch if result["rounds"] is None else "the model after the last round"
    lines += ["", "## Scores by class", "", f"Of {model}.", *metrics.section(result["result"]["selected"])]
    domains = result["result"]["selected"].get("per_domain")
    if domains:
        lines += ["", "## Top-1 by domain", "", "| domain | top-1 |", "|---|---|"]
        lines += [f"| {md(name)} | {value:.1%} |" for name, value in domains.items()]
    lines += clients.clients_section(result["at_clients"], result["result"]["selected"]["top1"])
    lines += quality.quality_section(result["quality"])
    for label, one in result.get("quality_beside", {}).items():
        lines += quality.quality_section(one, label)
    lines += audit.report_section(result.get("audit"))
    lines += ["", "## Samples of each client", "", "| client | " + " | ".join(map(md, info.class_names)) + " |"]
    lines += ["|---" * (len(info.class_names) + 1) + "|"]
    for client, counts in result["partition"]["samples"].items():
        lines.append(f"| {md(client)} | " + " | ".join(words(count) for count in counts) + " |")
    lines += ["", f"Digest of the synthetic set: `{result['synthetic']['digest']}`", ""]
    if result["synthetic"]["redrawn"]:
        said = "image was" if result["synthetic"]["redrawn"] == 1 else "images were"
        lines += [f"{result['synthetic']['redrawn']:,} {said} blanked by the safety checker and drawn again.", ""]
    lines += ["## Generator", ""]
    about = result["generator"] | result["synthetic"]["notes"]
    # an option that is not set says nothing of these images; the configuration below has them all
    lines += [
        f"- {md(_NAMES.get(key, _spaced(key)))}: {md(_said(key, value))}"
        for key, value in about.items()
        if value is not None
    ]
    for one in result["prompt_models"]:
        at = f", {md(one['repository'])} at commit {md(one['commit'])}" if one["commit"] else ""
        lines += [f"- prompts by {md(one['model'])}{at}, license {md(one['license'])}"]
    lines += ["", "## Data", "", f"- {md(info.name)}, license: {md(info.license)}"]
    lines += [f"- {md(info.attribution)}"] if info.attribution else []
    lines += [f"- {counted(len(info.skipped), 'unreadable image')} left out:"] if info.skipped else []
    lines += [f"  - {md(name)}" for name in info.skipped]
    lines += [f"- {md(note)}" for note in info.notes]
    threads = f", {counted(result['threads'], 'thread')}" if result["threads"] else ""
    shown = yaml.safe_dump(intake_record.configuration(session), sort_keys=False, allow_unicode=True)
    # folded: it is the longest part, and the last that anybody reads
    lines += ["", "## Configuration", "", f"Device {md(result['device'])}{threads}; versions are in environment.json."]
    lines += ["", "<details><summary>all options, as a YAML file</summary>", ""]
    lines += [*fenced(shown.strip(), "yaml"), "", "</details>", ""]
    return "\n".join(lines)


def _pictures(session: Session, result: dict[str, Any], sheets: Sequence[Path]) -> list[str]:
    """The contact sheets, and how to look at them."""
    lines = [f"## Synthetic images ({result['synthetic']['images']:,})", ""]
    lines += [
        "Look at these before the figures: a class whose pictures are of something else, or of another kind than the "
        "clients' images, is one that the generator does not know, and no classifier learns it from them.",
        "",
    ]
    for path in sheets:
        name = session.info.class_names[int(path.name.partition("-")[0])]
        lines += [f"**{md(name)}**", "", f"![{md(name)}](<{path.relative_to(session.run.root).as_posix()}>)", ""]
    return lines


def _codec_row(codec: str, one: dict[str, Any], error: dict[str, dict[str, float]] | None) -> str:
    largest, rms = (
        max((each[kind] for each in (error or {}).values()), default=None) for kind in ("max_abs", "relative_rms")
    )
    shown = ["–" if value is None else f"{value:.3g}" for value in (largest, rms)]
    return f"| {codec} | {one['total']:,} | {one['how']} | {' | '.join(shown)} |"


def words(value: Any) -> str:
    """A value as a person writes it, on one line: no braces, no None."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6f}".rstrip("0").rstrip(".") if abs(value) >= 1e-3 or value == 0 else f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{plain(_spaced(str(key)))} {words(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value)) or "none"
    return plain(value)


def _said(key: str, value: Any) -> str:
    """Of what a generator says about itself."""
    if key in ("image_size", "save_size") and isinstance(value, list | tuple):
        return f"{' × '.join(map(words, value))} pixels"
    if key == "guidance_scale" and isinstance(value, list | tuple):
        return f"{' to '.join(map(words, value))}, drawn for each image"
    return words(value)


_NAMES = {
    "image_size": "size of an image (height × width)",
    "num_inference_steps": "steps an image",
    "dtype": "number format",
    "lora": "LoRA",
    "lora_commit": "commit of the LoRA",
    "vae_slicing": "VAE in slices",
    "vae_tiling": "VAE in tiles",
    "batch_sizes": "sizes of batches, as memory ran out",
}
"""What an entry about the generator is called, where its key would not do."""


def _spaced(key: str) -> str:
    return key.replace("_", " ")
