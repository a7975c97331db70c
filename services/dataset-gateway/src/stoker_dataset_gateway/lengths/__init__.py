"""How long rows are in the tokens of a base model."""
