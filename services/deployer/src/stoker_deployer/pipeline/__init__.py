"""Who works on which job: claims with a lease and a fencing token, workers, wake-ups, the orphan sweep."""
