"""The KubeRay operator of the simulator."""
