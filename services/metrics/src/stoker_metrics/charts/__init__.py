"""Charts: points of a run of any length, down-sampled to a bounded answer."""
