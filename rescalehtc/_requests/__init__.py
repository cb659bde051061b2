"""Building and validating what is sent. No I/O."""
