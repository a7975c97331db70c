"""Rules of how long things are kept, and their enforcement."""
