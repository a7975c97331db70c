"""Reports of pods over HTTP: checked, made durable in the broker, answered with what the pod is to do."""
