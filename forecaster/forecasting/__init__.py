"""A fitted model at work: its data set, base, fit, calibration, forecasts."""
