"""The step's process of a step whose body runs in the cluster: it submits a worker and passes its events on."""
