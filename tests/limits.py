"""How long tests wait."""

# A limit on what would otherwise hang. No test passes or fails by how much of it was used, so it
# is far longer than anything takes on a busy machine.
HANG_SECONDS = 600

# The timeout of a request that is never answered: long enough for sending it on a busy machine.
SHORT_SECONDS = 1.0

# Nobody listens here, and no test's server is given this port by the system.
NOBODY = "http://127.0.0.1:1"
