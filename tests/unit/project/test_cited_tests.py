"""A page that says which test holds something names one that is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_every_test_that_a_page_names_is_there() -> None:
    cited = {
        (page.name, file, name)
        for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
        for file, name in re.findall(r"(tests/[\w/]+\.py)::(test_\w+)", page.read_text(encoding="utf-8"))
    }
    assert len(cited) > 50
    missing = [one for one in cited if not re.search(rf"def {one[2]}\(", (ROOT / one[1]).read_text(encoding="utf-8"))]
    assert missing == []
