"""The state: all that the daemon knows after a restart, in one SQLite file or in PostgreSQL.

One process has it (`sqlite.OwnerLock`, or a lock of its session in the database). A step's delta is
written in one transaction, so that a crash repeats the step whole or not at all; the outbox's rows
are saved one attempt at a time. `store` asks and writes the same of both; `schema` holds the tables
of the file version by version, makes SQL of the structs in `sidecar.rows`, and says what a failure
means: for now (a full disk), or for good.
"""
