"""Google accounts of the test's own: key files, a token service, and a certificate for TLS."""

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

REVOKED = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
SECRET = "hidden-secret"
TOKEN = {"access_token": SECRET, "expires_in": 3600, "token_type": "Bearer"}


@dataclass(frozen=True, slots=True)
class Tls:
    """A key with the certificate that it signed itself, for this machine."""

    key: bytes
    certificate: bytes

    @property
    def server(self) -> grpc.ServerCredentials:
        """What a server of gRPC needs."""
        return grpc.ssl_server_credentials([(self.key, self.certificate)])


def make_tls() -> Tls:
    """Make a key and its certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(here), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Tls(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )


def write_service_account(path: Path, *, key: bytes, token_url: str) -> None:
    """Write the file of a service account's key."""
    account = {
        "type": "service_account",
        "project_id": "some-project",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "sluice@some-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_url,
    }
    path.write_bytes(orjson.dumps(account))


def write_federated_account(path: Path, *, token_url: str) -> None:
    """Write the file of an account of workload identity federation; it asks for tokens."""
    subject = path.with_suffix(".subject")
    subject.write_text(SECRET)
    pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"
    account = {
        "type": "external_account",
        "audience": pool,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": {"file": str(subject)},
    }
    path.write_bytes(orjson.dumps(account))


@contextmanager
def token_service(answer: dict[str, object] | dict[str, str]) -> Iterator[str]:
    """Answer every request for a token with this until the block ends; the value is its URL."""
    status = 400 if "error" in answer else 200
    body = orjson.dumps(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
