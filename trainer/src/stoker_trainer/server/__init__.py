"""The training server: the machine side of provider `local`. Its process never imports torch."""
