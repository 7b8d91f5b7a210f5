"""Certificates for tests: good ones, and each kind of bad one."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate with its chain, its key, and (for Java) both in one file."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """An authority whose certificate is in `file`, and what it vouches for."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self._ca = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(
        self, name: str, host: str = "127.0.0.1", expired: bool = False, password: str = ""
    ) -> Files:
        """A certificate for `host`, with a key in PKCS #8, encrypted where there is a password."""
        now = datetime.now(UTC)
        until = now - timedelta(days=1) if expired else now + timedelta(days=1)
        made = self._ca.issue_cert(host, not_before=now - timedelta(days=9), not_after=until)
        chain = b"".join(part.bytes() for part in made.cert_chain_pems)
        stem = self._folder / f"{self._name}-{name}"
        files = Files(*(stem.with_suffix(end) for end in (".crt", ".key", ".pem")))
        encryption: KeySerializationEncryption = NoEncryption()
        if password:
            encryption = BestAvailableEncryption(password.encode())
        loaded = load_pem_private_key(made.private_key_pem.bytes(), None)
        key = loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        files.certificate.write_bytes(chain)
        files.key.write_bytes(key)
        files.both.write_bytes(key + chain)
        return files

    def revoked(self, *those: Files) -> Path:
        """A list of revoked certificates."""
        now = datetime.now(UTC)
        authority = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        made = x509.CertificateRevocationListBuilder().issuer_name(authority.subject)
        made = made.last_update(now).next_update(now + timedelta(days=1))
        for files in those:
            number = x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now)
            made = made.add_revoked_certificate(entry.build())
        key = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        path = self._folder / f"{self._name}.crl"
        path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return path

    def client(self, shown: Files | None = None) -> ssl.SSLContext:
        """A client that trusts this authority alone, and shows a certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        return context


def server_context(files: Files) -> ssl.SSLContext:
    """For a server that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context
