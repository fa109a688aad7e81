"""Stand-ins for Azure on loopback, for tests and the first run; never deployed."""
