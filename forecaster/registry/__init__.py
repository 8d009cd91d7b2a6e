"""Trained versions on disk: written whole or not at all, verified before use."""
