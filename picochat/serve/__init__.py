"""Models over HTTP, with the routes and shapes of OpenAI's API. docs/server.md describes them."""
