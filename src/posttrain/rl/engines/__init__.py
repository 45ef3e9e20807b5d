"""The only files that know an engine: `trl`, and the reference `loop`."""
