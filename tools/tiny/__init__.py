"""Training of the embedded foundation model `tiny` (see tools/train_tiny.py)."""
