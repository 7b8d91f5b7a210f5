"""Sections that say who is who: certificates, credentials, tokens."""

from pydantic import Field

from agent.config.types import FilePath, Name, Secret, Section, TokenUrl, UserName


class OAuthConfig(Section):
    """Where a token for OAUTHBEARER is had, and as whom (client credentials grant)."""

    token_url: TokenUrl = Field(description="Token endpoint of the authorization server.")
    client_id: Name = Field(description="Client to log in as.")
    client_secret: Secret = Field(description="Secret of the client; never shown.")
    scope: Name | None = Field(default=None, description="Scope to ask for, if any.")
    cafile: FilePath | None = Field(
        default=None,
        description="Authorities to trust at the token endpoint; none: those of the system.",
    )


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
