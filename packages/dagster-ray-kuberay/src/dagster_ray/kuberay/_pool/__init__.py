"""Warm RayClusters that steps have for themselves, one after the other."""
