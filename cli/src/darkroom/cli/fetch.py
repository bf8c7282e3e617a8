"""`darkroom fetch`: the set-up's last step."""

import typer

from darkroom.cli.progress import fetching
from darkroom.cli.stack.jars import fetch_jars, jars_folder, listed_jars
from darkroom.cli.stack.java import java_command
from darkroom.cli.stack.mongod import find_mongod


def fetch() -> None:
    """Fetches Kafka's jars (checked by sha256, into the user's cache) and makes mongod ready to run."""
    folder, jars = jars_folder(), listed_jars()
    fetched = fetch_jars(folder, jars, fetching("Kafka's jars"), verify=True)
    typer.echo(f"Kafka: {len(jars)} jars in {folder}, {len(fetched)} fetched now, all checksums right")
    typer.echo(f"Java: {java_command()}")
    typer.echo(f"MongoDB: {find_mongod()}")
