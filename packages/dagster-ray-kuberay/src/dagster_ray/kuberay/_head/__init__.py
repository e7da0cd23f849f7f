"""Ways to a head and to what it serves."""
