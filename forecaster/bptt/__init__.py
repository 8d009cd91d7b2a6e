"""The gradient engine: full and truncated backpropagation through time."""
