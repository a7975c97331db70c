"""What holds for all tests."""

import functools
import ssl

from hypothesis import settings

# How long an example takes says something about the machine's load, not about the code.
settings.register_profile("stoker", deadline=None)
settings.load_profile("stoker")

# Each HTTP client reads the whole list of authorities anew: a tenth of a second of processor time, thousands of times.
ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment]
