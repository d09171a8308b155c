"""The running process, the only place that knows every part.

`app` makes the parts and wires them together. `loop` turns `steps` into committed, published ones;
`pacing` says how much a step reads and how long to rest after it. `seat` is where it is judged, of
a fleet `standby` and `judging`. `outbox` is what the delivery worker sees of the state, `orders`
what people change of alerts. What happens becomes
metrics and log lines in `telemetry`, and events about the sidecar itself in `selfwatch`, which
rules can judge like any other. `control` is what people can ask a running daemon for.
"""
