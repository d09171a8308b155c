r"""From the bytes of a log to events.

A `Chunk` is whole lines of one log file. The `Parser` takes them out of a container's wrapping
(`container`) and splits them (`block`): alike lines are read together by a few calls into C, every
other line that may hold an event is read singly (`record`), its object by an exact reader
(`objects`), or, where it is a plain sentence, by a pattern (`patterns`). Both ways say the same of
a line; they differ in what it costs. An event is what the host says and not what it quotes, which
shows in what stands before it (`prefix`).

What comes out is `Parsed`: events in the order of the log where somebody wants them whole, else a
tally for each triple of provider, event type and status; rejects, lines that claim to be events
and cannot be read; and foreign lines, where a stranger may have written the claim.

>>> from sidecar.parse.event import Chunk, LogFormat
>>> from sidecar.parse.parser import Parser
>>> event = b"WEBHOOK_METRIC: {'event_type': 'invoice.paid', 'status': 'ok'}"
>>> host = b"2026-11-02 08:01:16 - INFO - " + event
>>> stranger = b"2026-11-02 08:01:17 - WARNING - Unknown coupon code: " + event
>>> lines = b"\n".join([host, b"nothing of interest", stranger, b""])
>>> chunk = Chunk(file=1, log="app.log", format=LogFormat.AUTO, data=lines, start=0)
>>> parsed = Parser().parse(chunk, now=1_800_000_000.0, wanted=lambda triple: True)
>>> [(event.event_type, event.status, event.at) for event in parsed.events]
[('invoice.paid', 'ok', 1793606476.0)]
>>> [line.reason.value for line in parsed.foreign]
['before']
"""
