"""The run directory: its layout, its lock, the records of finished stages, and checkpoints."""
