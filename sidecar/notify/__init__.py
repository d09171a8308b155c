"""Decides who is told of which alert, when, and why. Pure: time is an argument.

The rules hand on transitions: an alert fired, escalated, ended. The route tree (`model.Route`)
says which receivers an alert concerns and with which others it forms a group (`group`). In each of
its groups the alert is a member (`member`), which knows what of it is unsent. A group is flushed
when it is due; `decide` says whether it is told now, of which members, and by which named reason.
`message` then writes one row for the outbox per destination, and the members count as told.

An alert has three shapes on its way. `rules.alert.OpenAlert` is the rules' own record of it while
it is open, mutable and known to nobody else. `rules.alert.Alert` is the snapshot that leaves the
rules with each transition; a member holds the last one. `model.Notice` is what a message keeps of
it: redacted, stored in the outbox, and made text only when it is sent. What templates are given
and what a replay prints are views of a notice.

    notifier = Notifier(config.route, config.receivers, redactor)
    notifier.add(transitions, now)
    notifier.flush(now, caught_up=True)
    changed = notifier.drain()  # to be committed: `changed.delta` and the rows of `changed.outbox`
"""
