"""`PipesKubeRayJobClient`."""
