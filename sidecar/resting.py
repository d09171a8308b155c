"""How long to rest between two steps: polling is the truth, file system events make it early."""

# Field experience: as often as mtail.
POLL_SECONDS = 0.25
# Under a steady writer, steps are spaced so that a commit carries more than a line or two.
SPACING_SECONDS = 0.02
# Once nothing has come for CALM_SECONDS, polling only checks on the events; each poll wakes a
# processor with cold caches and takes it half a millisecond.
SLOW_POLL_SECONDS = 1.0
CALM_SECONDS = 5.0
# So long they are not relied on after they missed something: a write to a network file system by
# another machine, or through a memory map.
DOUBT_SECONDS = 60.0
# Each event takes 0.2 ms on its way through four threads: at 1,000 lines a second a quarter of a
# core. Where lines have followed each other so closely for so long, they say nothing anyway.
STREAM_GAP_SECONDS = 0.1
STREAM_SECONDS = 1.0


class Rests:
    """Decides by what the last steps found. All times are seconds on a clock that never jumps."""

    def __init__(self, now: float) -> None:
        self._relied_on_from = now + CALM_SECONDS
        self._news_at = self._stream_since = now - STREAM_GAP_SECONDS - 1

    def stepped(self, now: float, *, news: bool, polled: bool) -> None:
        """Take the end of a step.

        `news`: it read something. `polled`: it followed a rest that no event cut short.
        """
        if not news:
            return
        missed = polled and not self.streams(now)
        calm_at = now + (DOUBT_SECONDS if missed else CALM_SECONDS)
        self._relied_on_from = max(self._relied_on_from, calm_at)
        if now - self._news_at > STREAM_GAP_SECONDS:
            self._stream_since = now
        self._news_at = now

    def streams(self, now: float) -> bool:
        """Tell whether lines come so steadily that events are of no use."""
        steadily = self._news_at - self._stream_since >= STREAM_SECONDS
        return steadily and now - self._news_at <= STREAM_GAP_SECONDS

    def seconds(self, now: float, *, watched: bool) -> float:
        """Return how long to rest at most; `watched`: events would tell of all there may be."""
        if self.streams(now - SPACING_SECONDS):  # and once more when it has just ended
            return SPACING_SECONDS
        return SLOW_POLL_SECONDS if watched and now >= self._relied_on_from else POLL_SECONDS
