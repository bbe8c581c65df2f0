"""Turn models into graphs."""
