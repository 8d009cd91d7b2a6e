"""How any model learns from any arrays; knows no ticker and no file."""
