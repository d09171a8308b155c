"""Lines that carry an HMAC, as `sidecar/host/webhook_metric.py` writes them.

A line is a JSON object whose last field is `hmac`: the HMAC-SHA256, in hex, of all that stands
before the comma in front of it.
"""

import hmac

from sidecar.parse.objects import MARKER_BYTES

_MARK = b', "hmac": "'
_END = b'"}'


def is_signed(line: bytes, key: bytes) -> bool:
    """Return whether `line`, out of its container, carries the right HMAC under `key`."""
    body, _, rest = line.rpartition(_MARK)
    return hmac.compare_digest(rest, hmac.digest(key, body, "sha256").hex().encode() + _END)


def signed_only(data: bytes, key: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return `data` with each other line blanked, so that all that is left stands where it stood.

    And those of the others that hold the marker, with where they begin. Without a key all stays.
    """
    if not key:
        return data, []
    kept, refused, at = [], [], 0
    for line in data.split(b"\n"):
        if line and not is_signed(line, key):
            if MARKER_BYTES in line:
                refused.append((at, line))
            kept.append(b" " * len(line))
        else:
            kept.append(line)
        at += len(line) + 1
    return b"\n".join(kept), refused
