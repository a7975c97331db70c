"""Machines that bear a name of ours and belong to no attempt that goes on; the sweep finds them."""
