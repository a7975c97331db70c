"""Alerts of pods: what a person should know about a job."""
