"""One file per network; knows no prices and no optimizer."""
