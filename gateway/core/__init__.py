"""Pure: no network, clock, environment or async."""
