"""What the KubeRay operator knows and refuses, told before it is asked."""
