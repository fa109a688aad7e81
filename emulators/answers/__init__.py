"""Deterministic, plausible answers of each operation. Pure: a request's content in, a body out."""
