"""What an audit found, in words and tables: for the terminal, audit.md and the run's report."""

from __future__ import annotations

from fgl.core.report.audit_figures import Audit, Membership, Memorization, UploadInversion
from fgl.core.report.intervals import Interval, Share
from fgl.core.report.quality import space_line
from fgl.core.report.tables import Table, paragraphs
from fgl.text import markdown as md

ATTACKS = {"lira": "LiRA", "loss": "threshold on the loss"}
Figure = Interval | Share | None


def report_section(audit: Audit | None) -> list[str]:
    """Lines of report.md; none where there was no audit."""
    return [] if audit is None else ["", "## Audit", "", *section(audit, "###", "audit/")]


def section(audit: Audit, heading: str, folder: str = "") -> list[str]:
    """Every part that was measured. folder: where pictures lie from where this is read."""
    return [
        *_membership(audit.membership, heading, folder),
        *_memorization(audit.memorization, heading),
        *_uploads(audit.uploads, heading),
        *(f"- {md(name)} was not measured: {md(why)}" for name, why in audit.left_out.items()),
    ]


def _membership(membership: Membership | None, heading: str, folder: str) -> list[str]:
    if membership is None:
        return []
    return [
        f"{heading} Membership inference",
        "",
        *membership_table(membership).markdown(),
        "",
        *gap_table(membership).markdown(),
        "",
        *paragraphs(membership_notes(membership)),
        f"![true-positive against false-positive rate](<{folder}roc.png>)",
        "",
    ]


def _memorization(memorization: Memorization | None, heading: str) -> list[str]:
    if memorization is None:
        return []
    return [
        f"{heading} Memorization",
        "",
        *memorization_table(memorization).markdown(),
        "",
        *paragraphs(memorization_notes(memorization)),
    ]


def _uploads(uploads: UploadInversion | None, heading: str) -> list[str]:
    if uploads is None:
        return []
    return [
        f"{heading} What the uploads say",
        "",
        *upload_table(uploads).markdown(),
        "",
        *histogram_table(uploads).markdown(),
        "",
        *paragraphs(upload_notes(uploads)),
    ]


# --- membership -----------------------------------------------------------------------------------------------------


def membership_table(membership: Membership) -> Table:
    """A method and attack a row, each figure with its interval."""
    rates = list(next(iter(membership.methods.values())).lira.tpr)
    columns = (
        "classifier of",
        "attack",
        *(f"TPR at FPR {_rate(rate)}" for rate in rates),
        "AUC",
        "balanced accuracy",
        "AUC less fgl's",
    )
    rows = []
    for one in membership.methods.values():
        for attack, name in ATTACKS.items():
            figures, less = one.attack(attack), one.difference
            rows.append(
                [
                    one.title,
                    name,
                    *(share(figures.tpr[rate]) for rate in rates),
                    number(figures.auc),
                    number(figures.balanced),
                    "" if less is None else number(less[attack].auc, sign=True),
                ]
            )
    return Table(columns, rows, "ll" + "r" * (len(columns) - 2))


def gap_table(membership: Membership) -> Table:
    """What the models are right on: members, the other samples, the test split; and how many models there are."""
    rows = [
        [
            one.title,
            share(one.top1.members),
            share(one.top1.others),
            share(one.gap, sign=True),
            share(one.top1.test),
            f"{one.distinct} of {membership.shadows}",
        ]
        for one in membership.methods.values()
    ]
    columns = ("classifier of", "top-1, members", "top-1, non-members", "difference", "top-1, test", "distinct models")
    return Table(columns, rows)


def membership_notes(membership: Membership) -> list[str]:
    members = membership.members
    size = f"{members[0]:,}" if members[0] == members[1] else f"{members[0]:,} to {members[1]:,}"
    variance = "a variance of its own"
    if not membership.own_variance:
        variance = "one variance for all images, pooled within images"
    lines = [
        f"{membership.shadows} shadow models of each method, each made from {size} of the clients' "
        f"{membership.samples:,} training images, half of every client and class; the same halves for all methods. "
        "Each model in turn is the target, and the others but its counterpart of the other half are what the attacker "
        f"has. Queries: each image{' and its mirror image' if membership.flip else ''}. Figures are means over targets "
        "with a 95 % interval by Student's t; targets share the models that they are attacked with. Between two "
        "thresholds, one is drawn at random, and of those with as many false positives the best one counts: by chance, "
        "n non-members give a TPR of (FPR · n + 1) / (n + 1), and an AUC and balanced accuracy of 0.5.",
        "LiRA (Carlini et al. 2022, online) fits normal distributions of each image's log-odds with and without it, "
        f"with {variance}. The other attack is one threshold on the loss for all images (Yeom et al. 2018).",
    ]
    first = next(iter(membership.methods.values())).lira.tpr
    coarse = [_rate(rate) for rate, value in first.items() if value is None]
    if coarse:
        lines.append(
            f"No TPR at FPR {', '.join(coarse)}: of {membership.non_members:,} non-members, none would be told wrongly."
        )
    for one in membership.methods.values():
        if one.distinct < membership.shadows:
            same = f"; {one.as_run} shadows have the run's own set and model" if one.as_run else ""
            lines.append(
                f"{one.title}: {membership.shadows} shadows ask for {one.distinct} distinct sets of images{same}. "
                "Equal sets give one model, trained once: where all are equal, no attack on it can be above chance."
            )
    return lines


# --- memorization ---------------------------------------------------------------------------------------------------


def memorization_table(memorization: Memorization) -> Table:
    """Distances to the nearest real image, of synthetic images and of as many test images."""
    both = memorization.distance.synthetic, memorization.distance.test
    quantiles = (("median", "median"), ("p05", "nearest 5 %"), ("p01", "nearest 1 %"), ("min", "nearest"))
    rows = [[f"distance to nearest real, {name}", *(f"{one.of(key):.4g}" for one in both)] for key, name in quantiles]
    for key, name in (("p05", "5 %"), ("p01", "1 %")):
        # of few test images it is another share than the quantile's name says
        beside = f"{100 * memorization.closer_test[key]:.1f} %"
        rows.append([f"closer than the nearest {name} of test images", share(memorization.closer[key]), beside])
    rows.append(["equal to its nearest real image, pixel by pixel", f"{memorization.identical:,}", ""])
    rows.append(["nearest real image is of its class", share(memorization.same_class), ""])
    return Table(("", "synthetic", "test images"), rows)


def memorization_notes(memorization: Memorization) -> list[str]:
    """Whose space, which images, and how to read the table."""
    counts = memorization.counts
    shows = "shows images that clients hold: a picture of a simulation, and not to be passed on"
    what = f"It {shows}." if memorization.real == "train" else "Its real images are public."
    return [
        space_line(memorization.space),
        f"{counts.compared:,} of {counts.synthetic:,} synthetic images and {counts.test:,} of the test split, as many "
        f"of each class, against {counts.real:,} real images: {memorization.real_is} ({memorization.real}). Intervals "
        "are Wilson's, and take the quantile of the test images as known.",
        f"Distances, image by image: {memorization.table}. Closest pairs, {memorization.pairs}: synthetic and nearest "
        f"real image on the left, test image and nearest real image on the right. {what}",
    ]


# --- uploads --------------------------------------------------------------------------------------------------------


def upload_table(uploads: UploadInversion) -> Table:
    """What looking embeddings up gave, a client a row, all of them last."""
    rows = [
        [
            name,
            one.codec,
            f"{one.rows:,}",
            share(one.recovered),
            _count(one.findable),
            share(one.classes),
            _short(one.cosine),
            _short(one.margin),
        ]
        for name, one in uploads.clients.items()
    ]
    whole = uploads.all_clients
    rows.append(
        ["all", "", f"{whole.rows:,}", share(whole.recovered), _count(whole.findable), share(whole.classes), "", ""]
    )
    columns = ("client", "codec", "rows", "text recovered", "could be", "class recovered", "cosine", "margin")
    return Table(columns, rows, "llrrrrrr")


def histogram_table(uploads: UploadInversion) -> Table:
    """What class ids and weights say beside what clients hold, a client a row."""
    rows = []
    for name, each in uploads.clients.items():
        one = each.histogram
        held = None if one.held is None else sum(count > 0 for count in one.held)
        exact = "–" if one.exact is None else ("yes" if one.exact else "no")
        rows.append([name, str(one.named), _count(held), _short(one.distance), exact, f"{one.alone:,}"])
    columns = ("client", "classes named", "classes held", "total variation", "counts are exact", "rows of one image")
    return Table(columns, rows)


def upload_notes(uploads: UploadInversion) -> list[str]:
    tried = uploads.dictionary
    if tried.source == "file":
        what = f"{tried.texts:,} texts of the file"
    else:
        what = (
            f"{tried.texts:,} texts that the prompt strategies can write of {tried.classes} class names and "
            f"{tried.decoys} of other datasets"
        )
        if tried.searched:
            sizes = ", ".join(f"{size:,}" for size in tried.searched)
            what += f"; of the run's own strategy, with {sizes} texts, a search phrase by phrase"
    lines = [
        f"Each row is taken for the text whose embedding is nearest by cosine, the empty text's taken off. Tried: "
        f"{what}."
        ' "Could be": rows whose text was among these. Margin: by how much the second nearest is further, median. '
        "Intervals are Wilson's, over rows. No model was trained to invert: what is found is a lower bound.",
    ]
    if any(one.codec == "text" for one in uploads.clients.values()):
        lines.append("With the codec text the prompts themselves are sent: there is nothing to invert.")
    if uploads.own_arrays:
        lines.append(
            f"The arrays of {' and '.join(uploads.own_arrays)} are not encodings of texts: no text can be recovered, "
            "and the nearest one shows at most the class. What they reveal of images is for the part memorization."
        )
    elif uploads.all_clients.recovered is None:
        lines.append("What the clients wrote is with them: whether the found texts are theirs is not known here.")
    lines.append(
        "Class ids and weights stand in every upload as they are. Total variation is between the classes' shares as "
        f"sent and as held, 0 where they are equal. Row by row: {uploads.table}, which holds prompts of clients."
    )
    return lines


# --- numbers --------------------------------------------------------------------------------------------------------


def share(value: Figure, sign: bool = False) -> str:
    """A mean or share in percent, with its interval."""
    return _figure(value, 100, "{:+.1f}" if sign else "{:.1f}", " %")


def number(value: Figure, sign: bool = False) -> str:
    return _figure(value, 1, "{:+.3f}" if sign else "{:.3f}", "")


def _figure(value: Figure, scale: float, form: str, unit: str) -> str:
    center = None if value is None else value.mean if isinstance(value, Interval) else value.share
    if value is None or center is None:
        return "–"
    text = form.format(scale * center) + unit
    if value.low is None or value.high is None:
        return text
    return f"{text} ({form.format(scale * value.low)} to {form.format(scale * value.high)})"


def _rate(rate: str) -> str:
    return f"{100 * float(rate):g} %"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
