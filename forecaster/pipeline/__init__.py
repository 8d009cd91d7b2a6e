"""The hallway: plain functions, the only place where the rooms meet."""
