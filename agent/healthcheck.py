"""Whether the agent on this machine lives: `python -m agent.healthcheck [HOST:PORT]`.

For the health check of a container, whose image has no other HTTP client. It reads no
configuration, so that it costs little and a broken file on disk does not condemn a running agent.
"""

import ssl
import sys
from http.client import HTTPException
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

TIMEOUT = 3  # seconds


def lives(address: str = "127.0.0.1:9108") -> bool:
    """Whether `/healthz` answers there, with or without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is sent that could be stolen; whose certificate it is does not matter here.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
    for scheme in ("http", "https"):
        try:
            with opener.open(f"{scheme}://{address}/healthz", timeout=TIMEOUT):
                return True
        except (OSError, HTTPException):
            continue
    return False


if __name__ == "__main__":
    sys.exit(0 if lives(*sys.argv[1:2]) else 1)
