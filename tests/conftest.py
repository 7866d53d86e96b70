"""Settings of every test: interrupts arrive; hypothesis judges the code, not how busy the machine is.

A few examples each in the quick part; many in the slow part (``--hypothesis-profile=thorough``).
"""

import signal

from hypothesis import HealthCheck, settings

# A shell that starts the tests in the background makes them ignore interrupts, and with them all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


settings.register_profile("quick", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=300)
settings.load_profile("quick")
