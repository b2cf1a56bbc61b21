"""Measures, forecasts, sizes and places: how many instances of each model run, and where."""
