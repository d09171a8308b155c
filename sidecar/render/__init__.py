"""What a message says.

A notification is stored as values and rendered when it is sent. `renderer` makes a view of it,
plain and redacted, with the rule's annotations filled in, and fills the receiver's own templates
or those of its kind with that, inside the `sandbox`; where one fails, built-in text says the same.
`check` looks at templates when the configuration is read, before any of that, and tries them on a
message that holds all that one can.
"""
