"""Built-in backends of the objective stage."""
