"""HTTP the same way in every service: problem details, trace id, health, graceful run."""

from stoker_shared.web.application import create_application, serve
from stoker_shared.web.bearer import bearer_token
from stoker_shared.web.client_socket import ClientSocket, client_socket
from stoker_shared.web.health import ReadinessCheck

__all__ = ["ClientSocket", "ReadinessCheck", "bearer_token", "client_socket", "create_application", "serve"]
