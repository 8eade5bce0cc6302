"""A small HTTP server for one page, on this machine, for this user alone.

Whoever opens the page needs its address, which contains a random token. Pages of other sites that the
browser may show cannot use it, and neither can other users of this machine, even if they see the address.
"""

from __future__ import annotations

import os
import secrets
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vipcli.errors import Spelling, UsageError, as_argument
from vipcli.picking.connection import Connection, Handler, Site, Upload

MAX_CONNECTIONS = 64
# Seconds between looks at whether to stop listening.
_POLL = 0.1


class LocalServer:
    """Serves a page and answers its messages, from threads of its own."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        page: Path,
        *,
        uploads: Mapping[str, Upload] | None = None,
        spelling: Spelling = as_argument,
        port: int = 0,
        debug: bool = False,
    ) -> None:
        self._site = Site(handlers, page, secrets.token_urlsafe(24), uploads or {}, spelling, debug)
        self._port = port
        self._listener: Listener

    @property
    def url(self) -> str:
        """The address of the page, once the server has started."""
        return f"http://127.0.0.1:{self._listener.server_port}/{self._site.token}/"

    def start(self) -> None:
        """Listen on the port, or on any free one if it is 0."""
        try:
            self._listener = Listener(self._site, self._port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"Port {self._port} of this machine cannot be used: {reason}.", "Choose another."
            ) from error
        threading.Thread(target=self._listener.serve_forever, args=(_POLL,), daemon=True).start()

    def close(self, grace: float = 1.0) -> None:
        """Stop listening, give the answers under way these seconds to arrive, and close all connections."""
        self._listener.shutdown()
        self._listener.server_close()
        self._listener.hang_up(grace)


class Listener(ThreadingHTTPServer):
    """The socket that connections come in on, and the connections, each of which has a thread."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS
    # On Windows, this would let another program take the port over.
    allow_reuse_address = os.name == "posix"

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        self._changed = threading.Condition()
        self._idle: dict[socket.socket, float] = {}
        """The connections that wait for a request, and since when."""
        self._busy: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Connection)

    def server_bind(self) -> None:
        # Not that of HTTPServer, which asks for this machine's name, perhaps over the network.
        socketserver.TCPServer.server_bind(self)
        self.server_port = self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            if len(self._idle) + len(self._busy) >= MAX_CONNECTIONS and not self._drop_idle():
                self.shutdown_request(request)
                return
            self._idle[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._changed:
            self._idle.pop(request, None)
            self._busy.discard(request)
            self._changed.notify_all()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser may close its connections at any time.
        if self.site.debug and not isinstance(sys.exception(), OSError):
            traceback.print_exc()

    def begin(self, connection: socket.socket) -> None:
        """A request has arrived on a connection."""
        with self._changed:
            self._idle.pop(connection, None)
            self._busy.add(connection)

    def end(self, connection: socket.socket) -> None:
        """The request has been answered."""
        with self._changed:
            self._busy.discard(connection)
            self._idle[connection] = time.monotonic()
            self._changed.notify_all()

    def hang_up(self, grace: float) -> None:
        """Give the answers under way a moment to arrive, and close all connections."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, grace)
            for connection in (*self._idle, *self._busy):
                _interrupt(connection)

    def _drop_idle(self) -> bool:
        """Close the connection that has waited longest for a request, so that none keeps others out."""
        if not self._idle:
            return False
        longest = min(self._idle, key=self._idle.__getitem__)
        del self._idle[longest]
        _interrupt(longest)
        return True


def _interrupt(connection: socket.socket) -> None:
    """Close a connection that another thread uses."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
