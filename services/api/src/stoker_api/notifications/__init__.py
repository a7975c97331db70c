"""Notifications: addresses are sealed here as they arrive; the metrics service keeps them and sends."""
