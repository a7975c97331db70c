"""The dataset gateway: uploads, the whole-file check, download tokens, artifacts."""
