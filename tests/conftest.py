"""What holds for every test."""

from hypothesis import settings

# No deadline: how long an example takes says how busy the machine is, and no test here asserts on that.
settings.register_profile("meterhouse", deadline=None)
settings.load_profile("meterhouse")
