"""What is checked before a cluster is asked for."""
