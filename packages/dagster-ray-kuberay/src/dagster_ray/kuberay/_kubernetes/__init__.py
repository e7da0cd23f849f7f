"""Calls of the Kubernetes API."""
