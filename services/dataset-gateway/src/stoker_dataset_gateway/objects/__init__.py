"""Objects on their way into the store: none is forgotten there, none that is wanted is deleted."""
