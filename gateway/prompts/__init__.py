"""The prompt library: prompts, partials, their versions, labels and collections, kept as documents."""
