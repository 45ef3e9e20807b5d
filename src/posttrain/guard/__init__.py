"""Guards around a model: what may leave, what was injected, what breaks a written policy."""
