"""The real core on a simulated clock, for tests of rules and replays of history: no I/O."""
