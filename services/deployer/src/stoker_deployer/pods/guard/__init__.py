"""The guard of a pod: ships the log, watches the clock, reports the end, releases the machine.

It runs on the pod from the pod script, before anything is installed: only Python's own library, nothing of ours.
"""
