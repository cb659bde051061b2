"""Base classes of the twins. GENERATED."""
