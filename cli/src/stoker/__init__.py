"""Client, command line and one-machine stack of Stoker."""
