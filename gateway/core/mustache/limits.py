"""How large a template, and the work of rendering it, may grow."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep a hostile template or a hostile variable from costing more than a moment."""

    template_chars: int = 400_000  # leaves room for the rest of a stored document of 1 MiB
    output_chars: int = 4_000_000
    nesting: int = 50  # sections inside sections, in one template
    partial_depth: int = 16  # partials inside partials; a partial may name itself until then
    depth: int = 100  # sections and partials together, so that Python's stack is never the bound
    steps: int = 500_000  # tags written and contexts searched; about a quarter of a second
    problems: int = 20  # reported of one template


DEFAULT_LIMITS = Limits()

# A tag longer than this is taken for text. It bounds the search for a closing delimiter.
TAG_CHARS = 1_000

# Portkey takes a partial tag with a longer name for text.
PARTIAL_NAME_CHARS = 50
