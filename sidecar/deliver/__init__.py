"""From the outbox table to the other side.

What somebody is to be told is a row of the outbox, written together with the step that decided it.
`worker` fetches the rows that are due, claims them and puts each into the `queue` of its
destination, which sends in order, one at a time and within its rate. The kind of receiver renders
and sends; `retry` says what follows from the outcome, and the row is written back before the queue
goes on: a crash repeats one message of a destination at most.
"""
