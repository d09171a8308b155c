"""Rules: events and time become alerts.

A rule file is read into a `Rule` (`rule`; its condition in `condition`, the functions of conditions
in `aggregates`) and made ready to run as a `CompiledRule`. The `Engine` asks its `Index` which
rules an event concerns, and finds in `Keys` the `KeyState` of the event's `by` values. That has a
window of samples for each aggregate (`windows`) and at most one open alert (`alert`), which an
event, a deadline or a person takes from phase to phase; where silence is the alert it is an
`AbsentKey` (`absence`). Each change is a `Transition`, numbered (`transitions`), and goes to the
notifier; what changed in the state file goes out as rows, and `restore` takes them up.

Everything here is pure: time is an argument, and the engine says when it next wants to be asked.

>>> from sidecar.matchers import parse_matcher
>>> from sidecar.parse.event import Event
>>> from sidecar.rules.grammar import parse_condition
>>> from sidecar.rules.engine import Engine
>>> from sidecar.rules.rule import Rule
>>> rule = Rule(
...     name="PaymentFailing",
...     match=(parse_matcher("status=failed"),),
...     by=("org_id",),
...     condition=parse_condition("count() >= 2"),
...     within=3600.0,
... )
>>> engine = Engine([rule], redact=dict, stale_after=3600.0)
>>> engine.restore((), (), (), now=0.0)
>>> for at in (10.0, 20.0):
...     event = Event("stripe", "invoice.payment_failed", "failed", at, {"org_id": "acme"})
...     engine.observe(event, read_at=at)
>>> [(one.kind.value, one.at, one.alert.key) for one in engine.drain().transitions]
[('fired', 20.0, ('acme',))]
>>> engine.next_deadline()
3610.0
>>> engine.tick(3610.0, now=3610.0, complete=True)
>>> [(one.kind.value, one.at) for one in engine.drain().transitions]
[('expired', 3610.0)]
"""
