"""Time networks where they run: whole, and op by op."""
