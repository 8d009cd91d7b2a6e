"""The daily run: due sessions, retries, promotion, drift, lock, log."""
