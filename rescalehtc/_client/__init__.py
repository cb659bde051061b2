"""Authenticated exchange with the service. The only place that knows the HTTP library."""
