"""From events to Prometheus series.

Rule files define *metrics*; `webhook_events_total` is always there. A `Meter` holds a metric's
series together, one for each label set, and counts in them what the parser found: events that
came whole, and tallies of events that nobody wants whole. What changed is drained once a step and
stored in the transaction that also moves the position in the log, so that after any end of the
process a counter goes on where it stood, without a gap and without counting twice. Only then an
`Exposition` shows it on /metrics.
"""
