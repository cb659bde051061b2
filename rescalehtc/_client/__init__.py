"""Authenticated requests to the service. Only this package imports the HTTP library."""
