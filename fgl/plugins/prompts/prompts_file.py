"""Prompts that the user wrote, from a CSV or JSONL file."""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fgl.contracts.dataset import DatasetInfo
from fgl.contracts.prompts import ClientContext, Prompt
from fgl.errors import DataError
from fgl.plugins.prompts.budget import fit_budget
from fgl.plugins.prompts.grouping import count_classes
from fgl.plugins.prompts.identical_classes import check_class_names
from fgl.plugins.prompts.options import PromptsFileOptions
from fgl.plugins.prompts.prompts_table import ID, Row, read, short, texts_by_class
from fgl.plugins.prompts.template import LABEL, fill

log = logging.getLogger(__name__)


class PromptsFile:
    """The file's prompts for the classes that a client holds. Opens no image."""

    def __init__(self, options: PromptsFileOptions) -> None:
        self.options = options

    def check(self, info: DatasetInfo) -> None:
        """Read the whole file as every client of a dataset would. Raises DataError as `prompts`."""
        read(self.options, info.class_names, bool(info.domains), info.domains)
        if self.options.missing == "class-name":
            check_class_names(info.names_in_prompts)

    def texts(self, info: DatasetInfo) -> list[tuple[str, str]]:
        """Each text of the file, after its place, such as "line 2, prompt". Raises DataError as `prompts`."""
        rows = read(self.options, info.class_names, bool(info.domains), info.domains)
        return [
            (f"{self.options.path}, line {row.line}, {what}", text)
            for row in rows
            for what, text in (("prompt", row.text), ("negative", row.negative))
            if text is not None
        ]

    def grammar(self, class_names: Sequence[str], domains: Sequence[str]) -> list[list[list[str]]]:
        """See `PromptStrategy`: the file's texts for these classes, and the class-level prompt of classes without one
        if `missing` asks for it. None where the file is not, or where it calls classes by their ids, since these say
        nothing without the class list.

        Raises DataError where it cannot be read."""
        if not Path(self.options.path).expanduser().exists():
            return []
        written = texts_by_class(self.options, domains)
        if any(ID.fullmatch(name) and name not in class_names for name in written):
            return []
        loose = {name.casefold(): texts for name, texts in written.items()}
        found = []
        for name in class_names:
            texts = written.get(name) or loose.get(name.casefold(), [])
            if not texts and self.options.missing == "class-name":
                texts = [fill(self.options.template, {LABEL: name})]
            found += texts
        return [[list(dict.fromkeys(found))]] if found else []

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """In order of class, then of the file. Weight: the client's samples of the class, shared as the rows say.

        Rows for classes and domains that the client does not hold, and for other clients, are not used. If the client
        cannot tell another client's domain from a misspelt one, a warning names and counts such rows. Raises DataError,
        which lists what is wrong with the file, line by line, or names held classes for which it has no prompt.
        """
        held = count_classes(context)
        if not held:
            return []
        domains = context.images.domains
        names = context.label_names or context.class_names
        rows = read(self.options, names, domains is not None, context.domains)
        self._tell_of_strangers(rows, context)
        self._tell_of_clients(rows, context)
        here = None if domains is None else set(zip(context.images.labels.tolist(), domains, strict=True))
        client_rows = [
            row
            for row in rows
            if row.class_id in held
            and row.client in ("", context.client_id)
            and (row.domain is None or here is None or (row.class_id, row.domain) in here)
        ]
        missing = [class_id for class_id in held if all(row.class_id != class_id for row in client_rows)]
        if missing and self.options.missing == "refuse":
            lacking = ", ".join(repr(names[class_id]) for class_id in missing[:10])
            raise DataError(
                f"{self.options.path}: no prompt for {lacking}{', …' if len(missing) > 10 else ''}, of which "
                f"{context.client_id} holds images; add rows, or set missing: class-name for the class-level prompt"
            )
        if missing:
            context.note("classes_without_prompt", len(missing))
        if len(client_rows) < len(rows):
            log.info("%s: %d of %d prompts are for what it holds", context.client_id, len(client_rows), len(rows))
        prompts = []
        for class_id, count in held.items():
            class_rows = [row for row in client_rows if row.class_id == class_id]
            total = sum(row.share for row in class_rows)
            prompts += [
                Prompt(
                    class_id,
                    row.text,
                    negative=row.negative,
                    domain=row.domain,
                    weight=count * row.share / total,
                    guidance_scale=row.guidance_scale,
                )
                for row in class_rows
            ] or [self._class_level(class_id, count, context)]
        return fit_budget(prompts, self.options, context)

    def _tell_of_strangers(self, rows: Sequence[Row], context: ClientContext) -> None:
        known = set(context.images.domains or ())
        strange = Counter(row.domain for row in rows if row.domain is not None and row.domain not in known)
        if context.domains is None and strange:
            context.note("prompts_of_other_domains", strange.total())
            names = ", ".join(f"{short(name)} ({count})" for name, count in sorted(strange.items())[:5])
            log.warning(
                "%s: %d prompts are for domains of which it holds no image, and are not used: %s%s; it holds %s",
                context.client_id,
                strange.total(),
                names,
                ", …" if len(strange) > 5 else "",
                ", ".join(map(short, sorted(known)[:8])) + (", …" if len(known) > 8 else ""),
            )

    def _tell_of_clients(self, rows: Sequence[Row], context: ClientContext) -> None:
        """Warn if no row names this client: it does not know the other ids, but its own may be misspelt."""
        named = Counter(row.client for row in rows if row.client)
        if named and context.client_id not in named:
            context.note("prompts_of_other_clients", named.total())
            near = difflib.get_close_matches(context.client_id, named, 1)
            log.warning(
                "%s: all %d prompts of %s that name a client name others%s; it uses those that name none",
                context.client_id,
                named.total(),
                self.options.path,
                f", such as {short(near[0])}" if near else "",
            )

    def _class_level(self, class_id: int, count: int, context: ClientContext) -> Prompt:
        text = fill(self.options.template, {LABEL: context.class_names[class_id]})
        return Prompt(class_id, text, negative=self.options.negative_prompt or None, weight=float(count))
