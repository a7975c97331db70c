"""HTTP the same way in every service: problem details, trace id, health, graceful run."""

from stoker_shared.web.application import create_application, serve
from stoker_shared.web.bearer import bearer_token
from stoker_shared.web.health import ReadinessCheck

__all__ = ["ReadinessCheck", "bearer_token", "create_application", "serve"]
