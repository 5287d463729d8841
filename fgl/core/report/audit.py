"""What an audit found, in words and tables: for the terminal, audit.md and the run's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fgl.core.report.quality import space_line
from fgl.core.report.tables import Row, paragraphs, table
from fgl.text import markdown as md

ATTACKS = {"lira": "LiRA", "loss": "threshold on the loss"}
PICTURE = "audit/roc.png"
Figure = Mapping[str, Any] | None


def report_section(found: Mapping[str, Any] | None) -> list[str]:
    """Lines of report.md; none where there was no audit."""
    return [] if found is None else ["", "## Audit", "", *section(found, "###", "audit/")]


def section(found: Mapping[str, Any], heading: str, folder: str = "") -> list[str]:
    """Every part that was measured. folder: where pictures lie from where this is read."""
    lines: list[str] = []
    if found["membership"] is not None:
        lines += [f"{heading} Membership inference", "", *table(membership_rows(found["membership"])), ""]
        lines += [*table(gap_rows(found["membership"])), ""]
        lines += paragraphs(membership_notes(found["membership"]))
        lines += [f"![true-positive against false-positive rate](<{folder}roc.png>)", ""]
    if found["memorization"] is not None:
        lines += [f"{heading} Memorization", "", *table(memorization_rows(found["memorization"])), ""]
        lines += paragraphs(memorization_notes(found["memorization"]))
    if found["uploads"] is not None:
        lines += [f"{heading} What the uploads say", "", *table(upload_rows(found["uploads"])), ""]
        lines += [*table(histogram_rows(found["uploads"])), ""]
        lines += paragraphs(upload_notes(found["uploads"]))
    lines += [f"- {md(name)} was not measured: {md(why)}" for name, why in found["left_out"].items()]
    return lines


# --- membership -----------------------------------------------------------------------------------------------------


def membership_rows(found: Mapping[str, Any]) -> list[Row]:
    """A method and attack a row, each figure with its interval; a header first."""
    first = next(iter(found["methods"].values()))["lira"]
    rates = list(first["tpr"])
    rows = [
        [
            "classifier of",
            "attack",
            *(f"TPR at FPR {_rate(rate)}" for rate in rates),
            "AUC",
            "balanced accuracy",
            "AUC less fgl's",
        ]
    ]
    for one in found["methods"].values():
        for attack, name in ATTACKS.items():
            figures, less = one[attack], one["difference"]
            rows.append(
                [
                    one["title"],
                    name,
                    *(share(figures["tpr"][rate]) for rate in rates),
                    number(figures["auc"]),
                    number(figures["balanced"]),
                    "" if less is None else number(less[attack]["auc"], sign=True),
                ]
            )
    return rows


def gap_rows(found: Mapping[str, Any]) -> list[Row]:
    """What the models are right on: members, the other samples, the test split; and how many models there are."""
    rows = [["classifier of", "top-1, members", "top-1, non-members", "difference", "top-1, test", "distinct models"]]
    for one in found["methods"].values():
        top1 = one["top1"]
        distinct = f"{one['distinct']} of {found['shadows']}"
        rows.append(
            [
                one["title"],
                share(top1["members"]),
                share(top1["others"]),
                share(one["gap"], sign=True),
                share(top1["test"]),
                distinct,
            ]
        )
    return rows


def membership_notes(found: Mapping[str, Any]) -> list[str]:
    members = found["members"]
    size = f"{members[0]:,}" if members[0] == members[1] else f"{members[0]:,} to {members[1]:,}"
    lines = [
        f"{found['shadows']} shadow models of each method, each made from {size} of the clients' {found['samples']:,} "
        "training images, half of every client and class; the same halves for all methods. Each model in turn is the "
        "target, and the others but its counterpart of the other half are what the attacker has. Queries: each image"
        f"{' and its mirror image' if found['flip'] else ''}. Figures are means over targets with a 95 % interval by "
        "Student's t; targets share the models that they are attacked with. Between two thresholds, one is drawn by "
        "lot, and of those with as many false positives the best one counts: by chance, n non-members give a TPR of "
        "(FPR · n + 1) / (n + 1), and an AUC and balanced accuracy of 0.5.",
        "LiRA (Carlini et al. 2022, online) fits normal distributions of each image's log-odds with and without it, "
        "with "
        + ("a variance of its own." if found["own_variance"] else "one variance for all images, pooled within images.")
        + " The other attack is one threshold on the loss for all images (Yeom et al. 2018).",
    ]
    first = next(iter(found["methods"].values()))["lira"]["tpr"]
    coarse = [_rate(rate) for rate, value in first.items() if value is None]
    if coarse:
        lines.append(
            f"No TPR at FPR {', '.join(coarse)}: of {found['non_members']:,} non-members, none would be told wrongly."
        )
    for one in found["methods"].values():
        if one["distinct"] < found["shadows"]:
            same = f"; {one['as_run']} shadows have the run's own set and model" if one["as_run"] else ""
            lines.append(
                f"{one['title']}: {found['shadows']} shadows ask for {one['distinct']} distinct sets of images{same}. "
                "Equal sets give one model, trained once: where all are equal, no attack on it can be above chance."
            )
    return lines


# --- memorization ---------------------------------------------------------------------------------------------------


def memorization_rows(found: Mapping[str, Any]) -> list[Row]:
    """Distances to the nearest real image, of synthetic images and of as many test images; a header first."""
    rows = [["", "synthetic", "test images"]]
    said = (("median", "median"), ("p05", "nearest 5 %"), ("p01", "nearest 1 %"), ("min", "nearest"))
    both = found["distance"]["synthetic"], found["distance"]["test"]
    rows += [[f"distance to nearest real, {name}", *(f"{one[key]:.4g}" for one in both)] for key, name in said]
    for key, name, nominal in (("p05", "5 %", 0.05), ("p01", "1 %", 0.01)):
        # of few test images it is another share than the quantile's name says; an earlier version's audit has it not
        beside = found.get("closer_test", {}).get(key, nominal)
        rows.append(
            [f"closer than the nearest {name} of test images", share(found["closer"][key]), f"{100 * beside:.1f} %"]
        )
    rows.append(["equal to its nearest real image, pixel by pixel", f"{found['identical']:,}", ""])
    rows.append(["nearest real image is of its class", share(found["same_class"]), ""])
    return rows


def memorization_notes(found: Mapping[str, Any]) -> list[str]:
    counts = found["counts"]
    lines = [
        space_line(found["space"]),
        f"{counts['compared']:,} of {counts['synthetic']:,} synthetic images and {counts['test']:,} of the test "
        f"split, as many of each class, against {counts['real']:,} real images: {found['real_is']} ({found['real']}). "
        "Intervals are Wilson's, and take the quantile of the test images as known.",
    ]
    shows = "shows images that clients hold: a picture of a simulation, and not to be passed on"
    what = f"It {shows}." if found["real"] == "train" else "Its real images are public."
    return [
        *lines,
        f"Distances, image by image: {found['table']}. Closest pairs, {found['pairs']}: synthetic and nearest real "
        f"image on the left, test image and nearest real image on the right. {what}",
    ]


# --- uploads --------------------------------------------------------------------------------------------------------


def upload_rows(found: Mapping[str, Any]) -> list[Row]:
    """What looking embeddings up gave, a client a row, all of them last; a header first."""
    rows = [["client", "codec", "rows", "text recovered", "could be", "class recovered", "cosine", "margin"]]
    for name, one in found["clients"].items():
        rows.append(
            [
                name,
                one["codec"],
                f"{one['rows']:,}",
                share(one["recovered"]),
                _count(one["findable"]),
                share(one["classes"]),
                _short(one["cosine"]),
                _short(one["margin"]),
            ]
        )
    one = found["all"]
    rows.append(
        ["all", "", f"{one['rows']:,}", share(one["recovered"]), _count(one["findable"]), share(one["classes"]), "", ""]
    )
    return rows


def histogram_rows(found: Mapping[str, Any]) -> list[Row]:
    """What class ids and weights say beside what clients hold, a client a row; a header first."""
    rows = [["client", "classes named", "classes held", "total variation", "counts are exact", "rows of one image"]]
    for name, each in found["clients"].items():
        one = each["histogram"]
        held = None if one["held"] is None else sum(count > 0 for count in one["held"])
        exact = "–" if one["exact"] is None else ("yes" if one["exact"] else "no")
        rows.append([name, str(one["named"]), _count(held), _short(one["distance"]), exact, f"{one['alone']:,}"])
    return rows


def upload_notes(found: Mapping[str, Any]) -> list[str]:
    tried = found["dictionary"]
    if tried["source"] == "file":
        what = f"{tried['texts']:,} texts of the file"
    else:
        what = (
            f"{tried['texts']:,} texts that the prompt strategies can write of {tried['classes']} class names and "
            f"{tried['decoys']} of other datasets"
        )
        if tried["searched"]:
            sizes = ", ".join(f"{size:,}" for size in tried["searched"])
            what += f"; of the run's own strategy, with {sizes} texts, a search phrase by phrase"
    lines = [
        f"Each row is taken for the text whose embedding is nearest by cosine, the empty text's taken off. Tried: "
        f"{what}."
        ' "Could be": rows whose text was among these. Margin: by how much the second nearest is further, median. '
        "Intervals are Wilson's, over rows. No model was trained to invert: what is found is a lower bound.",
    ]
    if any(one["codec"] == "text" for one in found["clients"].values()):
        lines.append("With the codec text the prompts themselves are sent: there is nothing to invert.")
    if found["all"]["recovered"] is None:
        lines.append("What the clients wrote is with them: whether the found texts are theirs is not known here.")
    lines.append(
        "Class ids and weights stand in every upload as they are. Total variation is between the classes' shares as "
        f"sent and as held, 0 where they are equal. Row by row: {found['table']}, which holds prompts of clients."
    )
    return lines


# --- numbers --------------------------------------------------------------------------------------------------------


def share(value: Figure, sign: bool = False) -> str:
    """A mean or share in percent, with its interval."""
    return _figure(value, 100, "{:+.1f}" if sign else "{:.1f}", " %")


def number(value: Figure, sign: bool = False) -> str:
    return _figure(value, 1, "{:+.3f}" if sign else "{:.3f}", "")


def _figure(value: Figure, scale: float, form: str, unit: str) -> str:
    centre = None if value is None else value.get("mean", value.get("share"))
    if value is None or centre is None:
        return "–"
    text = form.format(scale * centre) + unit
    if value["low"] is None:
        return text
    return f"{text} ({form.format(scale * value['low'])} to {form.format(scale * value['high'])})"


def _rate(rate: str) -> str:
    return f"{100 * float(rate):g} %"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
