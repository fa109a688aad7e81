"""Mustache as Portkey's prompt templates use it: compiled once, rendered many times, bounded.

What it does where the mustache specification leaves room, and where it differs, is told in
`docs/prompts.md`; why it is our own is told in `docs/decisions/005-own-mustache-engine.md`.
"""

from gateway.core.mustache.limits import DEFAULT_LIMITS, Limits
from gateway.core.mustache.nodes import Problem, Template, place
from gateway.core.mustache.parse import compile_template
from gateway.core.mustache.render import Escape, PartialOf, Piece, Renderer, no_partials, render

__all__ = [
    "DEFAULT_LIMITS",
    "Escape",
    "Limits",
    "PartialOf",
    "Piece",
    "Problem",
    "Renderer",
    "Template",
    "compile_template",
    "no_partials",
    "place",
    "render",
]
