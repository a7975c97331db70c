"""Attempts: who may report, what a pod last said."""
