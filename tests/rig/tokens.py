"""A token endpoint (RFC 6749, client credentials) over TLS, and the key set of what it signs."""

import base64
import json
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.rig.certificates import Files, server_context

ISSUER, AUDIENCE = "https://issuer.test", "kafka"


@cache
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class TokenEndpoint:
    """Grants tokens, as signed JWTs, to one client; what it does can be changed as it runs."""

    def __init__(self, files: Files, client: str, secret: str) -> None:
        self.client, self.secret = client, secret
        self.lifetime = 300
        self.requests: list[dict[str, list[str]]] = []
        self.answer: tuple[int, bytes] | None = None  # given in place of a token
        self.silent = threading.Event()  # until it is set again nothing is said; set to begin with
        self.silent.set()
        self._key = signing_key()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_POST(self) -> None:
                endpoint._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = server_context(files)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.silent.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def keys(self, path: Path) -> None:
        """Write the key set (RFC 7517) with which a broker verifies the tokens."""
        public = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1"}
        key["n"] = encoded(public.n.to_bytes(256, "big"))
        key["e"] = encoded(public.e.to_bytes(3, "big"))
        path.write_text(json.dumps({"keys": [key]}))

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": self.client, "scope": "events"}
        said |= {"iat": now, "exp": now + self.lifetime, **claims}
        header = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, said))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encoded(signature)}"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        self.requests.append(parse_qs(handler.rfile.read(length).decode()))
        self.silent.wait(30)
        if self.answer is not None:
            status, body = self.answer
        elif self._knows(handler.headers.get("Authorization", "")):
            granted = {"access_token": self.token(), "token_type": "Bearer"}
            status, body = 200, json.dumps(granted | {"expires_in": self.lifetime}).encode()
        else:
            status, body = 401, b'{"error": "invalid_client"}'
        handler.send_response(status)
        if status in (302, 307):
            handler.send_header("Location", body.decode())
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _knows(self, authorization: str) -> bool:
        both = base64.b64decode(authorization.removeprefix("Basic ")).decode().split(":")
        return [unquote_plus(part) for part in both] == [self.client, self.secret]
