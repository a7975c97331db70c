"""The demo: from nothing to a fine-tuned model through every service. Run it with `python -m stoker.demo`."""
