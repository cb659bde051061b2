"""The tests of the guarantees in docs/reliability.md. Each test is a row of its tables."""
