"""Where prices come from: one small file per source, one interface."""
