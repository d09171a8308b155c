"""The demonstration: a pretend host, real local sinks, and the daemon between them."""
