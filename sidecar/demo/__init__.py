"""The demonstration: a pretend host, real local sinks, and the daemon between them.

`host` is what the host logs in half a minute of an eventful day; `screen` shows that, and receives
what the daemon sends to Slack and by mail. `sidecar.cli.demo` puts them together.
"""
