"""`python -m darkroom.cli` is the `darkroom` command."""

from darkroom.cli.main import app

if __name__ == "__main__":
    app(prog_name="darkroom")
