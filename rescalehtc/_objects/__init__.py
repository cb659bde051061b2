"""The base classes of the facade's objects."""
