"""Dataset versions: what is known of each."""
