"""A file on disk that no generation is known for yet, opened when its content matters."""

from posixpath import exists

from sidecar.batch import ReadBatch
from sidecar.read.content import Content, open_content
from sidecar.read.listing import errno_name
from sidecar.read.scan import Sighting


class Probe:
    """Opens a sighted file at most once. First open, then look: the path may change meanwhile."""

    def __init__(self, sighting: Sighting, batch: ReadBatch) -> None:
        self.sighting = sighting
        self._batch = batch
        self.blind = False  # it is there, but cannot be read at present
        self._content: Content | None = None
        self._tried = False

    @property
    def is_half_done(self) -> bool:
        """Tell whether this is what a file beside it is being compressed to, or was to be."""
        path = self.sighting.path
        return path.endswith(".gz") and exists(path.removesuffix(".gz"))

    def content(self) -> Content | None:
        """Return the open file, or None: gone or replaced since it was sighted, or `blind`."""
        if not self._tried:
            self._tried = True
            self._content = self._open()
        return self._content

    def release(self) -> None:
        """Hand the open file over: it is somebody else's to close."""
        self._content = None

    def close(self) -> None:
        if self._content is not None:
            self._content.close()
            self._content = None

    def failed(self, error: OSError) -> None:
        """Note that looking into the file failed."""
        self.blind = True
        self._batch.count("scan_errors", errno_name(error))
        self._batch.problems.append(
            f"cannot read {self.sighting.path}: {error.strerror}; trying again"
        )

    def _open(self) -> Content | None:
        try:
            content = open_content(self.sighting.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.failed(error)
            return None
        stat = content.stat()
        if (stat.st_dev, stat.st_ino) != self.sighting.place:
            content.close()
            return None
        return content
