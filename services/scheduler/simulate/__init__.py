"""Traces replayed in simulated time: what a scaling policy costs, and whom it makes wait."""
