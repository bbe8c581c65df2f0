"""Turn a graph and a device into an analysis."""
