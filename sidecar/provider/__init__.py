"""What the provider itself says.

The log says what the host has done; only the provider knows what it sent. `facts` is pure: whether
a body is the provider's, and which event it is. `listener` takes webhooks,
`api` asks. What both tell is counted and judged as if it stood in a log, in one transaction with
the id by which it is known again.
"""
