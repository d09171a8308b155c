"""Rule tests, `*.test.yaml`, in promtool's shape.

`cases` reads a file: log lines or events as inputs, and what is expected of alerts and messages at
which instant. `judge` runs each case through a `Simulation` of the real parser, rules, routing and
templates, and says where what was got is not what was expected.
"""
