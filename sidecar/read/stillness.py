"""How long a file has been unchanged, told by looks at it and by a clock that may jump."""

# The most that one look adds: an hour's jump of the clock must not make a busy file seem quiet.
_LONGEST_STEP = 15.0


class Stillness:
    """Looks and seconds since the last change that was seen."""

    def __init__(self) -> None:
        self.looks = 0
        self.seconds = 0.0
        self._looked_at = 0.0

    def begin(self, now: float) -> None:
        """Start counting anew at wall clock `now`."""
        self.looks, self.seconds, self._looked_at = 0, 0.0, now

    def look(self, now: float, *, changed: bool) -> None:
        """Take one look at wall clock `now`."""
        if changed:
            self.begin(now)
            return
        self.looks += 1
        self.seconds += min(max(0.0, now - self._looked_at), _LONGEST_STEP)
        self._looked_at = now
