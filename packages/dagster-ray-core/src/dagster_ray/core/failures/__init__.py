"""Whose failure a step's error is, and what follows from it."""
