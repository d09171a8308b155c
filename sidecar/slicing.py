"""How many bytes one step reads: as many as it can take without making anybody wait.

A step costs about 1 ms however little it reads (a look at the disk, a durable commit, a change of
thread), which wants large steps; a new line, a scrape and a stop wait for the step under way,
which wants short ones. The cost of a byte varies a hundredfold with what the log holds, so the
size follows from the time that the last steps took.
"""

LEAST, FIRST, MOST = 1 << 18, 1 << 19, 1 << 24  # bytes; they are not in memory all at once
# With the commit and a busy machine this stays below 50 ms.
TARGET_SECONDS = 0.025


class Slice:
    """The size of the next step, in bytes."""

    def __init__(self) -> None:
        self.budget = FIRST

    def took(self, read: int, seconds: float) -> None:
        """Learn from a step that read so many bytes in so many seconds.

        One that found less than half of what it might have read says nothing.
        """
        if read * 2 < self.budget or seconds <= 0:
            return
        fitting = read * TARGET_SECONDS / seconds
        if seconds < 2 * TARGET_SECONDS:
            # A processor is not equally fast from one step to the next: after a quick one, a
            # slow one of the size that would have fitted the quick one took up to 33 ms.
            fitting = self.budget + (fitting - self.budget) / 4
        # No faster up than twofold: one step of empty lines must not be followed by a huge one.
        self.budget = int(min(max(fitting, LEAST), self.budget * 2, MOST))
