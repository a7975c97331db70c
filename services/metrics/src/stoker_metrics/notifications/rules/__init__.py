"""Of what an owner wants to be told, and which events that are."""
