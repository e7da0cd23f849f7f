"""What a RayJob or RayCluster is to the step that uses it, and what can go wrong with it."""
