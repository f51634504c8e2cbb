"""A mail server on loopback that keeps what it is sent: as much of SMTP (RFC 5321) as a client needs, in a thread."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import cast


@dataclass
class Mailbox:
    """What came. `refuses`: the answer to every recipient instead, such as `550 no such user`."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    refuses: str = ""

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def link(self) -> str:
        """The only link of the last mail."""
        [found] = [word for word in self.mails[-1].get_content().split() if "/account/" in word]
        return str(found)


class _Handler(socketserver.StreamRequestHandler):
    timeout = 20

    def handle(self) -> None:
        box = cast("_Server", self.server).box
        self._say("220 mail.test")
        while line := self.rfile.readline():
            match line.decode().strip().split(" ", 1)[0].upper():
                case "RCPT" if box.refuses:
                    self._say(box.refuses)
                case "RCPT":
                    box.recipients.append(line.decode().strip())
                    self._say("250 ok")
                case "DATA":
                    self._say("354 go on")
                    box.mails.append(cast("EmailMessage", message_from_bytes(self._text(), policy=default)))
                    self._say("250 ok")
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 ok")

    def _text(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    box: Mailbox


@contextmanager
def open_mailbox() -> Iterator[Mailbox]:
    """It listens until the block ends."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.box = Mailbox(port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.box
        server.shutdown()
        thread.join()
