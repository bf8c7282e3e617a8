"""How `kafka-jars.json` is made, for the day Kafka's version changes: `python -m darkroom.cli.stack.resolve_jars`.

jgo takes the first coordinates' POMs as bills of material, and log4j's would bring kafka-clients 3.9.1 into a
broker of another version: the `!` keeps log4j's out, and the check below stays in case it comes back.
"""

import json
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

KAFKA = "4.3.1"
COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA}",
    f"org.apache.kafka:kafka-tools:{KAFKA}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!",
)


def resolve(cache: Path) -> list[dict[str, str | int]]:
    """The rows of the list, in a fixed order. Takes a minute and a network."""
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=cache)
    wanted = [context.create_dependency(coordinate) for coordinate in COORDINATES]
    inputs, others = context.resolver.resolve(wanted)
    rows: list[dict[str, str | int]] = []
    for dependency in (*inputs, *others):
        body = dependency.artifact.resolve().read_bytes()
        rows.append(
            {
                "group": dependency.groupId,
                "artifact": dependency.artifactId,
                "version": dependency.version,
                "size_bytes": len(body),
                "sha256": sha256(body).hexdigest(),
            }
        )
    wrong = [row for row in rows if row["group"] == "org.apache.kafka" and row["version"] != KAFKA]
    if wrong:
        raise SystemExit(f"resolved to a mix of Kafka versions: {wrong}")
    return sorted(rows, key=lambda row: (str(row["group"]), str(row["artifact"])))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        lines = ",\n".join("  " + json.dumps(row) for row in resolve(Path(folder)))
    target = Path(__file__).with_name("kafka-jars.json")
    target.write_text(f"[\n{lines}\n]\n", "utf-8")
    sys.stdout.write(f"{target}: {lines.count(chr(10)) + 1} jars\n")
