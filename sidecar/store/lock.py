"""The lock that keeps a second sidecar off a state file."""

import fcntl
import os

from sidecar.store.fault import StoreError


class OwnerLock:
    """Holds `<path>.lock` until `release`; the kernel lets go of it however the process ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, path: str) -> "OwnerLock":
        """Lock the state file `path`. Raises StoreError when another process has it, OSError."""
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise StoreError(
                f"the state file {path} is in use by another sidecar (process {owner});"
                " stop that one, or give this one its own state.path"
            ) from None
        except OSError:
            os.close(fd)
            raise
        # For the operator who meets the sentence above; the lock itself does not need it.
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return cls(fd)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two owners lock two files of one name."""
        os.close(self._fd)
