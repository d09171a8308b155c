"""From the outbox table to the other side.

What somebody is to be told is a row of the outbox, written together with the step that decided it.
`waiting` knows which message is next for each destination; `worker` claims it, and sends one at a
time to each, within the rate that its `queue` keeps. The kind of receiver renders
and sends; `retry` says what follows from the outcome, and the row is written back before the queue
goes on: a crash repeats one message of a destination at most.
"""
