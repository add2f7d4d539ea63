"""A private DynamoDB Local."""

from dataclasses import dataclass

from tests.servers.java import JavaProgram, JavaServer

VERSION = "3.1.0"


@dataclass
class DynamoDbServer(JavaServer):
    """DynamoDB Local, in memory. Each pair of access key and region is a database of its own, empty at first."""

    heap: str = "256m"

    program = JavaProgram("dynamodb")
    version = VERSION

    def url(self, access_key: str = "holdall") -> str:
        """Return the URL of the database of an access key: letters and digits."""
        return f"dynamodb://us-east-1?endpoint_url={self.http}&access_key_id={access_key}&secret_access_key=test"

    def arguments(self) -> list[str]:
        # Telemetry is on by default, and both switches below turn it off.
        return [
            f"-Djava.library.path={self.program.folder()}/lib",
            "software.amazon.dynamodb.services.local.main.ServerRunner",
            "-disableTelemetry",
            "-inMemory",
            "-port",
            str(self.port),
        ]

    def environment(self) -> dict[str, str]:
        return {"DDB_LOCAL_TELEMETRY": "0"}
