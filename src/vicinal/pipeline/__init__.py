"""Plans a map and runs it; arrays in, arrays out."""
