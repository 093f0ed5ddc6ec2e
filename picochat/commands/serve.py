"""`picochat serve`: models over HTTP, and a chat page."""

import logging
import os
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from picochat.errors import UserError

if TYPE_CHECKING:
    from picochat.serve.app import Limits

KEY_VARIABLE = "PICOCHAT_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve models by OpenAI's API, with a chat page at /. docs/server.md describes the routes."""

    load: tuple[str, ...]
    """Model: a run or a checkpoint (NAME, NAME@500, NAME@best or a folder); repeat it for several."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs --api-key."""
    port: int = 8000
    """Port to listen on; 0 for any free one."""
    api_key: str | None = None
    """Key that clients must give; better set as PICOCHAT_API_KEY, where no list of processes shows it."""
    allow_host: tuple[str, ...] = ()
    """Further names that clients may call this server by (their Host header), as behind a proxy."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    dtype: str = "auto"
    """Number format of the weights: auto, float32 or bfloat16."""
    max_batch: int = 16
    """Answers written at once, per model; their cache is allocated at the start."""
    max_queue: int = 64
    """Answers that may wait, per model; for more the server says 503."""
    max_body: int = 1 << 20
    """Bytes of a request."""
    timeout: float = 300.0
    """Seconds from a request to the end of its answer."""
    drain: int = 30
    """Seconds that running answers get to complete after Ctrl-C."""
    quiet: bool = False
    """Do not print a line for each request (its route, status and duration; never its text)."""

    def execute(self) -> None:
        """Load the models and serve until Ctrl-C."""
        from picochat.serve.guard import is_loopback

        api_key = self.api_key if self.api_key is not None else os.environ.get(KEY_VARIABLE) or None
        if api_key is not None and not re.fullmatch(r"[\x21-\x7e]+", api_key := api_key.strip()):
            raise UserError("an API key has letters, digits and signs of ASCII only, and no spaces")
        if not is_loopback(self.host) and api_key is None:
            raise UserError(
                f"--host {self.host} lets other machines ask: give a key as --api-key or {KEY_VARIABLE}"
            )
        limits = self._limits()
        # Before the models, which take a while: the port may be taken.
        with self._listen() as listener:
            from picochat.serve.app import create_app
            from picochat.serve.connection import HttpServer, server_config
            from picochat.serve.models import load_models

            models = load_models(self.load, device=self.device, dtype=self.dtype)
            app = create_app(models, limits, host=self.host, allowed_hosts=self.allow_host, api_key=api_key)
            if not self.quiet:
                logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
                logging.getLogger("picochat.serve").setLevel(logging.INFO)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            line = f"serving {', '.join(models)} at http://{shown}:{port} (Ctrl-C ends)"
            try:
                config = server_config(app, drain=self.drain)
                HttpServer(config, lambda: print(line, flush=True)).run([listener])
            finally:
                app.state.server.close()
            print("stopped")

    def _limits(self) -> "Limits":
        from picochat.serve.app import Limits
        from picochat.serve.schema import MAX_CHOICES

        if not self.load:
            raise UserError("give a model to serve: --load RUN")
        if self.max_batch < 1 or self.max_queue < 0 or self.max_batch + self.max_queue < MAX_CHOICES:
            raise UserError(
                f"--max-batch must be at least 1, and with --max-queue at least {MAX_CHOICES}: "
                "so many answers may one request ask for"
            )
        if self.max_body < 1 or self.timeout <= 0 or self.drain < 0:
            raise UserError("--max-body and --timeout must be over 0, --drain at least 0")
        return Limits(
            max_rows=self.max_batch,
            max_waiting=self.max_queue,
            max_body=self.max_body,
            answer_seconds=self.timeout,
        )

    def _listen(self) -> socket.socket:
        if not 0 <= self.port < 1 << 16:
            raise UserError(f"--port must be from 0 to 65535, not {self.port}")
        from picochat.serve.connection import MAX_CONNECTIONS

        try:
            family, _, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            return socket.create_server(address[:2], family=family, backlog=MAX_CONNECTIONS)
        except OSError as error:
            raise UserError(f"can not listen on {self.host}, port {self.port}: {error.strerror}") from error
