"""Timeouts of tests."""

# A limit for operations that could hang. No test depends on the elapsed time, so the limit is
# far longer than any operation takes on a busy machine.
HANG_SECONDS = 600

# The execTimeoutSeconds of jobs that must not reach it, even if an emulator's clock is 200 times
# faster.
EXEC_SECONDS = 200 * HANG_SECONDS

# The timeout of a request without a response, long enough to send it on a busy machine.
SHORT_SECONDS = 1.0

# Nothing listens here, and the system never assigns this port to a test's server.
NOBODY = "http://127.0.0.1:1"
