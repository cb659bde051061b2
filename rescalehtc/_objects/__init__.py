"""What the facade's objects share."""
