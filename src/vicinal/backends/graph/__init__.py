"""Built-in backends of the graph stage."""
