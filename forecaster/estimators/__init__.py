"""Estimators for notebooks, in memory: scikit-learn's conventions over the rooms below."""
