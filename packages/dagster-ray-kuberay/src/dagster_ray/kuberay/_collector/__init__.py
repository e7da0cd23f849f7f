"""What deletes the clusters that nobody uses."""
