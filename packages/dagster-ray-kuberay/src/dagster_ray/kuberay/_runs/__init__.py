"""Runs on KubeRay: the cluster on which the steps of a run are Ray jobs, and the RayJob of a run's worker."""
