"""Names of splits, the same for folders, parquet files, arrays and the `datasets` library."""

from __future__ import annotations

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")
"""The first of these that exists is the test split; the others are left out, and named."""
