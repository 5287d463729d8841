"""What splits are called: the same for folders, parquet files, arrays and the `datasets` library."""

from __future__ import annotations

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")
"""The first that is there is the test split; the others are left out, and named."""
