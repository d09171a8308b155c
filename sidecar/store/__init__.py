"""The state file: all that the daemon knows after a restart, in one SQLite file.

One process owns it (`store.OwnerLock`). A step's delta is written in one transaction, so that a
crash repeats the step whole or not at all; the outbox's rows are saved one attempt at a time.
`schema` holds the tables version by version, makes SQL of the structs in `sidecar.rows`, and says
what a failure means: for now (a full disk), or for good.
"""
