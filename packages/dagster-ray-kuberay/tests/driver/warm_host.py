"""What each process of a step would load again; `warm_worker` has the rest."""

import driver_steps
from kubernetes import client

from dagster_ray.kuberay._jobs import driver, place
from dagster_ray.kuberay._kubernetes import calls

LOADED = (driver_steps, client, driver, place, calls)
