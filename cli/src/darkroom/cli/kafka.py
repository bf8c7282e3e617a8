"""`darkroom kafka TOOL …`: Kafka's console tools, out of the jars, for users who have no Kafka installed."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli.connect import find_stack
from darkroom.cli.errors import UserError
from darkroom.cli.progress import fetching
from darkroom.cli.stack.jars import class_path
from darkroom.cli.stack.java import java_command

_SERVER = "--bootstrap-server"

TOOLS = {
    "acls": "org.apache.kafka.tools.AclCommand",
    "broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "topics": "org.apache.kafka.tools.TopicCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
}
_WITHOUT_BROKER = {"dump-log"}


app = typer.Typer(add_completion=False)


@app.command(
    "kafka",
    # Everything but our own two parameters is the tool's, `--help` included.
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def kafka(
    context: typer.Context,
    tool: Annotated[str, typer.Argument(help=f"One of: {', '.join(TOOLS)}.")],
    ready_file: Annotated[Path | None, typer.Option(help="Of the stack whose broker is asked.")] = None,
) -> None:
    """Runs one of Kafka's own console tools, against the found stack's broker unless --bootstrap-server is given.

    For example: darkroom kafka console-consumer --topic darkroom.jobs.v1 --from-beginning
    """
    name = re.sub(r"^kafka-|\.sh$", "", tool)
    if name not in TOOLS:
        raise UserError(f"no tool {tool!r}; there are {', '.join(TOOLS)}")
    arguments = list(context.args)
    if name not in _WITHOUT_BROKER and not any(a.split("=")[0] == _SERVER for a in arguments):
        arguments += [_SERVER, find_stack(ready_file, needs=["kafka"]).kafka]
    config = Path(__file__).parent / "stack" / "log4j2-tools.properties"
    java = java_command()
    classes = class_path(fetching("Kafka's jars"))
    # The tool takes this process's place: its exit code, its signals, its terminal.
    light = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    log4j = f"-Dlog4j2.configurationFile={config}"
    os.execv(java, [java, *light, log4j, "-cp", classes, TOOLS[name], *arguments])
