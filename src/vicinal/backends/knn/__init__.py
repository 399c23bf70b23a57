"""Built-in backends of the knn stage."""
