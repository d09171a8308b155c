"""A second process that parses ahead while much is unread: Python runs one thread at a time.

What it can do without knowing what was read before, it does: that is nearly all of nearly every
log. Whatever it cannot, and all of it when it is gone, the daemon does itself; so it changes how
long a backlog takes and nothing else.
"""
