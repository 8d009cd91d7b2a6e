"""Prices in, numpy arrays out; knows no torch."""
