"""Pure: one upstream's URLs, headers and quirks a file."""
