"""What a run gives away, measured: membership inference, memorized images, and what uploads say (docs/privacy.md)."""
