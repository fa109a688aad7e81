"""All I/O, each behind a port of `gateway.core.ports`."""
