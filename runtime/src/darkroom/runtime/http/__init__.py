"""What both HTTP services share: problems, strict parsing, OpenAPI, health, and the server they run in."""
