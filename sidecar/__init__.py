"""Webhook alert sidecar: log lines in, Prometheus series and notifications out."""

__version__ = "0.1.0"
