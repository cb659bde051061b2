"""What the promises of docs/reliability.md are proved with; each test is a row of its table."""
