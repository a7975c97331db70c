"""What is kept of each attempt: its partitions, its limits, how far its points are levelled and its lines packed."""
