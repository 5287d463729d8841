"""What plugin authors test with: a contract to inherit for each family, and the data that the contracts work on.

`fgl.testing.contracts` needs pytest; nothing else in fgl does.
"""

from __future__ import annotations

from contextlib import suppress

with suppress(ImportError):  # so that a failed assertion of a contract says what the values were
    import pytest

    pytest.register_assert_rewrite("fgl.testing.contracts")
