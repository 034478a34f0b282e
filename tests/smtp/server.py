"""An SMTP server (Debian's python3-aiosmtpd) that wants TLS and a password and keeps what it gets, a JSON file for each mail.

Arguments: port, folder, certificate, key, user, password. While the folder has a file `refuse`, recipients get the answer in it;
while it has a file `hold`, a mail is kept, but not acknowledged.
"""

import asyncio
import email
import email.policy
import json
import os
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

PORT, FOLDER, CERTIFICATE, KEY, USER, PASSWORD = sys.argv[1:7]


def beside(name):
    return os.path.join(FOLDER, name)


class Handler:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if os.path.exists(beside("refuse")):
            with open(beside("refuse"), encoding="utf-8") as file:
                return file.read().strip()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        part = lambda kind: message.get_body(preferencelist=(kind,))
        content = lambda body: body.get_content().replace("\r\n", "\n") if body else None
        kept = {
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "user": getattr(session, "who", None),
            "raw": envelope.content.decode("ascii", "backslashreplace"),
            "content_type": message.get_content_type(),
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": content(part("plain")),
            "html": content(part("html")),
            "defects": [str(defect) for defect in message.defects],
        }
        self.count += 1
        name = f"{time.time_ns()}-{self.count}.json"
        with open(beside(name + ".new"), "w", encoding="utf-8") as file:
            json.dump(kept, file)
        os.rename(beside(name + ".new"), beside(name))
        while os.path.exists(beside("hold")):
            await asyncio.sleep(0.02)
        return "250 Kept"


def authenticate(server, session, envelope, mechanism, data):
    known = isinstance(data, LoginPassword) and data == LoginPassword(USER.encode(), PASSWORD.encode())
    if known:
        session.who = data.login.decode()
    return AuthResult(success=known, handled=False)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
controller = Controller(
    Handler(),
    hostname="127.0.0.1",
    port=int(PORT),
    tls_context=context,
    require_starttls=True,
    auth_required=True,
    authenticator=authenticate,
)
controller.start()
print("ready", flush=True)
while True:
    time.sleep(3600)
