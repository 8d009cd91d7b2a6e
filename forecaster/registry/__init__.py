"""Trained versions on disk, verified before use; who is champion; what was forecast."""
