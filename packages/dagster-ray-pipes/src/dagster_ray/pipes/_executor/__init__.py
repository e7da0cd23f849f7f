"""Runs whose steps are Ray jobs, and their workers as Ray jobs."""
