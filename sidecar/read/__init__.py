r"""Reading: the life of a log file.

A source names a *log*, a path under which one file after another appears. Each of these is a
`LogFile`; it has a *position*, the first byte not read yet, and a *fingerprint*, hashes of its
first bytes and of those before the position. The reader holds the file open and reads whole lines
from the position on; while there is more than one step takes, the log is *catching up*. Position
and fingerprint are stored in the transaction that holds what the lines led to, so that after any
end of the process each line has counted once.

At each look a file on disk is either known by its inode, or it is a `Candidate`. A candidate is
opened and compared with the fingerprints of the log files that are out of sight: a `Match` says
that it is one of them after a *rotation* (renamed, copied and truncated, compressed), and reading
goes on in it at the position. What matches nothing is a new log file at the log's path, a copy, or
history from before the first start. The last two are *left alone*: a log file as well, known again
by its fingerprint, of which nothing is read. A rotated file is read until it is quiet, then closed;
one that is gone for good counts its unread bytes as lost, or, if nobody held it open, has an *end
unseen*. After a week out of sight it is forgotten.

`follower` is the front door. `folder` is a `Path` in this example:

>>> from sidecar.config.sources import Source
>>> from sidecar.read.follower import Follower
>>> log = folder / "app.log"
>>> size = log.write_bytes(b"one\ntwo\nthr")
>>> sources = [Source(path=str(folder / "*.log"), from_beginning=True)]
>>> follower = Follower(sources, [], hash_key=b"secret", first_start=True, next_id=1)
>>> batch = follower.poll(1_700_000_000.0)
>>> [chunk.data for chunk in batch.chunks]
[b'one\ntwo\n']
>>> rows = batch.rows  # to be committed before the next poll
>>> rows[0].offset
8
>>> follower.close()

The next process goes on there, although the log was rotated meanwhile:

>>> with log.open("ab") as writer:
...     size = writer.write(b"ee\n")
>>> log = log.rename(folder / "app.log.1")
>>> follower = Follower(sources, rows, hash_key=b"secret", first_start=False, next_id=2)
>>> [chunk.data for chunk in follower.poll(1_700_000_060.0).chunks]
[b'three\n']
>>> follower.close()
"""
