"""HTML pages from tables and arrays; knows no network and no file."""
