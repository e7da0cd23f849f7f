"""RayClusters that steps share or adopt."""
