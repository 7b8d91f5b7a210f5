"""Certificates and keys in files: what is wrong with them is one line that names the file's key."""

import ssl
from pathlib import Path

from agent.errors import UsageError


def trust(context: ssl.SSLContext, key: str, path: str | Path) -> None:
    """Trust the authorities in a file. `key` is where the configuration names it.

    Raises UsageError.
    """
    _readable(key, path)
    try:
        context.load_verify_locations(str(path))
    except OSError:
        raise UsageError(f"{key}: {path} holds no certificate in PEM format") from None


def trust_one(context: ssl.SSLContext, key: str, path: str | Path) -> None:
    """Trust the first certificate in a file, itself and nothing that it or others vouch for.

    Raises UsageError.
    """
    _has_certificate(key, path)
    text = Path(path).read_text(errors="replace")
    first = text[text.index(ssl.PEM_HEADER) :].partition(ssl.PEM_FOOTER)[0] + ssl.PEM_FOOTER
    context.load_verify_locations(cadata=first)
    # What is trusted itself needs no authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def revoke(context: ssl.SSLContext, key: str, path: str | Path) -> None:
    """Refuse the certificates that a file lists as revoked. Raises UsageError."""
    _readable(key, path)
    try:
        context.load_verify_locations(str(path))
    except OSError:
        raise UsageError(f"{key}: {path} holds no revocation list in PEM format") from None
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def show(
    context: ssl.SSLContext,
    section: str,
    certificate: str | Path,
    key: str | Path | None,
    password: str | None,
) -> None:
    """Show a certificate, with its chain, to whoever connects.

    Without `key` the key is in the same file. `section` is what the names `certfile`, `keyfile` and
    `password` are written after. Raises UsageError.
    """
    _readable(f"{section}certfile", certificate)
    if key is not None:
        _readable(f"{section}keyfile", key)
    where = f"{section}keyfile: {key}" if key is not None else f"{section}certfile: {certificate}"
    try:
        # Without any password OpenSSL would ask for it at the terminal.
        context.load_cert_chain(certificate, key, password or "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(f"{where} is not the key of {certificate}") from None
        _has_certificate(f"{section}certfile", certificate)
        hint = "the password is wrong" if password else f"set {section}password if it is encrypted"
        raise UsageError(f"{where} holds no private key that can be read; {hint}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{where} cannot be used: {error}") from None


def _readable(key: str, path: str | Path) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise UsageError(f"{key}: {path} cannot be read: {error.strerror}") from None


def _has_certificate(key: str, path: str | Path) -> None:
    trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), key, path)
