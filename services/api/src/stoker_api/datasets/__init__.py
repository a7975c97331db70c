"""Datasets, asked of the dataset gateway."""
