"""What a step reports of its cluster: figures and tables, by Ray's dashboard and by what a backend measures."""
