"""Ray jobs on the cluster of a step: where they are submitted, what watches over them, which one is followed."""
