"""What a resource does with its cluster, from the request to the end."""
