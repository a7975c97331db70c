"""Why an attempt failed: a table of causes, read against what is known of the attempt."""
