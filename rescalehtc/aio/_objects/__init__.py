"""What the twins share. GENERATED."""
