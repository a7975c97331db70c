"""What follows a failed attempt: whether there is another one, where, with which batch, and when it is enough."""
