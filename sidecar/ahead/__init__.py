"""A second process that parses ahead while much is unread: Python runs one thread at a time.

A `Backlog` decides before each step whether there is enough to read for an `Assistant`, the
daemon's handle on the second process. The daemon goes on taking chunks from its logs in order; it
hands some to the other process, parses the rest itself, and judges all of them in their order. What
will probably come next is handed over before a step ends, so that there is work meanwhile.
The second process answers with what can be told from a chunk alone, which is nearly all of nearly
every log. What cannot, and everything when the process is lost or slow, the daemon parses itself:
so it changes how long a backlog takes and nothing else.
"""
