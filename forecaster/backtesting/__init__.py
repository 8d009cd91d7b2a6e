"""Walk-forward evaluation: folds, benchmarks on the same rows, comparisons."""
