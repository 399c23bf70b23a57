"""Discovery, admission and resolution of backends."""
