"""What figures share: style, cache, tables, the gallery."""
