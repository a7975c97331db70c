"""Checked, priced and frozen intentions to train."""
