"""Scores anyone's forecasts; arrays and tables in, knows no network."""
