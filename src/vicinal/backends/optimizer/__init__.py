"""Built-in backends of the optimizer stage."""
