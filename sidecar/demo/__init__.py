"""The demonstration's story: a pretend host, and what it logs in half a minute of an eventful day.

`sidecar.cli.demo` runs the daemon on it, between real local sinks.
"""
