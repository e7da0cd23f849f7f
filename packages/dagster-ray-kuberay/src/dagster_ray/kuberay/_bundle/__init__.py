"""Evidence bundles: what a failed step leaves in a folder or object store before its cluster is deleted."""
