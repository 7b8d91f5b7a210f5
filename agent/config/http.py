"""Section `http`: where metrics, health and the status page are served, and to whom."""

from pydantic import Field

from agent.config.types import FilePath, Name, Port, Secret, Section, Token, UserName


class TlsConfig(Section):
    """Certificate to serve with, and clients to know."""

    certfile: FilePath = Field(description="Certificate with its chain, in PEM format.")
    keyfile: FilePath = Field(description="Private key of the certificate, in PEM format.")
    password: Secret | None = Field(
        default=None, description="Password of the private key; never shown."
    )
    client_cafile: FilePath | None = Field(
        default=None,
        description="Authorities of client certificates: who asks then needs one.",
    )


class BasicConfig(Section):
    """User name and password that who asks has to give."""

    username: UserName = Field(description="Name of the user.")
    password: Secret = Field(description="Password of the user; never shown.")


class HttpConfig(Section):
    """Where metrics, health and the status page are served."""

    host: Name = Field(default="0.0.0.0", description="Address to listen on.")
    port: Port = Field(default=9108, description="Port to listen on; 0 takes a free one.")
    tls: TlsConfig | None = Field(default=None, description="Serve over TLS, and only so.")
    basic: BasicConfig | None = Field(
        default=None, description="User name and password that all but the probes need."
    )
    bearer_token: Token | None = Field(
        default=None, description="Token that does in place of name and password; never shown."
    )
