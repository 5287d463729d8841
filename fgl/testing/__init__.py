"""What plugin authors test with. `fgl.testing.contracts` needs pytest; nothing else in fgl does."""
