"""Fleets that the scheduler's word is carried out on."""
