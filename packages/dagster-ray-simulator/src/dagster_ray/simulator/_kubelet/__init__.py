"""The nodes of the simulator: pods whose Ray is real or acted."""
