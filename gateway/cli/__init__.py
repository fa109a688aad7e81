"""The commands of `python -m gateway` that talk to a running gateway."""
