"""What providers charge for attempts that are over, and how it takes the place of what was counted."""
