"""Built-in backends of the init stage."""
