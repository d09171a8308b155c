"""Simulation: the real core on a clock that only events move, for rule tests and replays; no I/O.

A `Simulation` has a fresh core. `replay` reads logs as one history in the order of event time and
drives it through a simulation; `messages` renders what would have been told as the daemon renders
it, and holds two replays against each other; `coverage` says what a sample of the log speaks
against in rules and metrics.

>>> from sidecar.config.load import unrouted
>>> from sidecar.parse.columns import Columns
>>> from sidecar.parse.event import Event
>>> from sidecar.rules.grammar import parse_condition
>>> from sidecar.rules.rule import Rule
>>> from sidecar.simulate.simulation import Simulation
>>> condition = parse_condition("last(status) == failed")
>>> rule = Rule(name="Failing", by=("org_id",), condition=condition)
>>> simulation = Simulation(unrouted([rule]))
>>> simulation.start(1_793_606_400.0)
>>> event = Event("stripe", "invoice", "failed", 1_793_606_460.0, {"org_id": "acme"})
>>> for moment in simulation.run([Columns.of([event])], until=1_793_606_520.0):
...     for transition in moment.step.transitions:
...         print(transition.kind.value, transition.alert.name, transition.at - event.at)
fired Failing 0.0
>>> [alert.labels["org_id"] for alert in simulation.alerts()]
['acme']
"""
