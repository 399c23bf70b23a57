"""Built-in backends of the score stage."""
