"""Metric points: values at steps."""
