"""Trained versions, the champion history, the run history and the forecast log."""
