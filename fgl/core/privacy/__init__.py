"""What a run gives away, measured: membership inference, memorised images, and what uploads say (docs/privacy.md)."""
