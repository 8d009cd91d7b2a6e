"""Walk-forward folds, rivals on the same days, scores, verdicts, and the page that shows them."""
