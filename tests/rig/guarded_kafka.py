"""A real Apache Kafka whose authorizer lets a user do what it has been granted, and no more."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from tests.rig.kafka import KafkaServer
from tests.rig.process import free_port

USER, PASSWORD = "guarded-user", "guarded-pw"
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@dataclass(frozen=True, slots=True)
class GuardedKafka:
    """Where it listens: without a login, for the test, and for the user."""

    open: str  # whoever comes here may do anything
    guarded: str

    def options(self) -> dict[str, Any]:
        """The `kafka` section that logs in as the user."""
        return {
            "bootstrap_servers": self.guarded,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": USER,
            "sasl_plain_password": PASSWORD,
        }

    def grant(self, kind: str, name: str, *rights: str) -> None:
        """Let the user do this with a topic or group; return once the broker does."""
        pattern = ResourcePattern(ResourceType[kind], name)
        allow = ACLPermissionType.ALLOW
        acls = [ACL(f"User:{USER}", "*", ACLOperation[r], allow, pattern) for r in rights]
        literal = ACLResourcePatternType.LITERAL
        wanted = ResourcePatternFilter(ResourceType[kind], name, literal)
        every = ACLFilter(f"User:{USER}", "*", ACLOperation.ANY, ACLPermissionType.ANY, wanted)
        with closing(KafkaAdminClient(bootstrap_servers=self.open)) as admin:
            failed = admin.create_acls(acls)["failed"]
            assert not failed, failed
            deadline = time.monotonic() + 20
            while not set(rights) <= {a.operation.name for a in admin.describe_acls(every)[0]}:
                assert time.monotonic() < deadline
                time.sleep(0.05)


@contextmanager
def guarded_kafka(folder: Path) -> Iterator[GuardedKafka]:
    """One broker, started once."""
    plain, guarded, controller = free_port(), free_port(), free_port()
    listeners = f"PLAINTEXT://127.0.0.1:{plain},GUARDED://127.0.0.1:{guarded}"
    properties = {
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.guarded.plain.sasl.jaas.config": f'{_LOGIN} user_{USER}="{PASSWORD}";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    server = KafkaServer(folder, port=plain, properties=properties)
    server.start()
    try:
        yield GuardedKafka(server.bootstrap, f"127.0.0.1:{guarded}")
    finally:
        server.stop()
