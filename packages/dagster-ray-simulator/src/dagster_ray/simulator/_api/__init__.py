"""The API server of the simulator."""
