"""What the operations do, a module a subject. Each has a table HANDLERS."""
