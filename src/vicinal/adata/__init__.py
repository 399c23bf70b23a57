"""The only code that touches the slots of an AnnData."""
