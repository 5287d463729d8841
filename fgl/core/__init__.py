"""The framework itself: no plugin, no torch."""
