"""A step whose body runs as a Ray job in the cluster: what both sides of it have in common, and the side inside."""
