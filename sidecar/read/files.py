"""A file on disk that no generation is known for yet, opened when its content matters.

The logs and generations that are known, and which file on disk each generation claims.
"""

from collections.abc import Iterable, Iterator, Sequence
from posixpath import exists

from sidecar.batch import ReadBatch
from sidecar.config.settings import Source
from sidecar.parse.event import LogFormat
from sidecar.read.content import Content, open_content
from sidecar.read.fingerprint import Match
from sidecar.read.log import NOWHERE, FileState, Log, LogFile
from sidecar.read.scan import Place, Sighting, errno_name, is_glob


class Candidate:
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


class LogFiles:
    """Finds generations by log and by place; only here do they change places."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.logs: dict[str, Log] = {}
        self._formats = {source.path: source.format for source in reversed(sources)}
        self._by_place: dict[Place, LogFile] = {}
        for source in sources:
            if not is_glob(source.path):
                self.log(source.path, source.path)

    def retarget(self, sources: Sequence[Source], seen: Iterable[Sighting]) -> None:
        """Change the sources; `seen` are the files that they name now.

        A log belongs to the source that names it now, and stays with its own while nothing of it
        is in sight. The files of a log that no source names are let go of.
        """
        self._formats = {source.path: source.format for source in reversed(sources)}
        owners = {sighting.log: sighting.source for sighting in seen if sighting.source}
        for log in self.logs.values():
            log.source = owners.get(log.path, log.source)
            log.format = self._formats.get(log.source, log.format)
            for generation in log.generations:
                generation.source = log.source
                if log.source not in self._formats:
                    generation.detach()
                    generation.sighted = generation.at_live = False
        for source in sources:
            if not is_glob(source.path):
                self.log(source.path, source.path)

    def restore(self, generations: Iterable[LogFile]) -> None:
        """Take up generations from stored rows, in the order of their ids."""
        for generation in generations:
            self.log(generation.log, generation.source).generations.append(generation)
            self.claim(generation)

    def log(self, path: str, source: str) -> Log:
        """Return the log of that path, a new one if need be."""
        if path not in self.logs:
            self.logs[path] = Log(path, source, self._formats.get(source, LogFormat.AUTO))
        return self.logs[path]

    def known_logs(self) -> list[tuple[str, str]]:
        """Return (log, source) of each log; the source is empty when no longer configured."""
        logs = self.logs.values()
        return [(log.path, log.source if log.source in self._formats else "") for log in logs]

    def generations(self) -> Iterator[LogFile]:
        for log in self.logs.values():
            yield from log.generations

    def opened(self) -> Iterator[LogFile]:
        for log in self.logs.values():
            yield from log.opened

    def at(self, place: Place) -> LogFile | None:
        known = self._by_place.get(place)
        return known if known and known.place == place else None

    def claim(self, generation: LogFile) -> None:
        if generation.place != NOWHERE:
            self._by_place[generation.place] = generation

    def displace(self, generation: LogFile) -> None:
        """Take its place from a generation: the file there is another now."""
        self._unclaim(generation)
        generation.place = NOWHERE
        generation.sighted = generation.at_live = False

    def cut(self, generation: LogFile) -> None:
        """Close a file that no longer holds what was read of it: it was truncated."""
        generation.detach()
        generation.cut_off = True
        self.displace(generation)

    def forget(self, generation: LogFile) -> None:
        """Drop a generation whose row is to be deleted."""
        self.logs[generation.log].generations.remove(generation)
        self._unclaim(generation)

    def move_in(self, known: LogFile, probe: Candidate, batch: ReadBatch, now: float) -> bool:
        """Let `known` go on in the probed file if that holds what was read of it.

        Raises OSError when the file cannot be read.
        """
        content = probe.content()
        if content is None:
            return False
        evidence = known.compare(content)
        if evidence.likeness is not Match.SAME:
            return False
        was_active, moved = known.state is FileState.ACTIVE, known.place != probe.sighting.place
        self._unclaim(known)
        known.sight(probe.sighting, now)
        known.attach(content, evidence, probe.sighting.place, now)
        probe.release()
        self.claim(known)
        batch.count("files", "opened")
        if was_active and not known.at_live:
            batch.count("rotations", "copytruncate" if known.cut_off else "rename")
        elif was_active and moved:
            batch.count("rotations", "replace")
        known.cut_off = False
        return True

    def _unclaim(self, generation: LogFile) -> None:
        if self._by_place.get(generation.place) is generation:
            del self._by_place[generation.place]
