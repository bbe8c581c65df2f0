"""Questions over many analyses: what does it cost, which device to take, how does it scale, what do the families do, does it pass."""
