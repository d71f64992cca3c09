# SPDX-License-Identifier: GPL-2.0-or-later
"""
A small SIP phone over UDP: enough to register, to call, and to be called.

    phone = Phone(host.udp("203.0.113.10", 5060), "192.0.2.10", "21", "secret")
    phone.register()                        # the final status: 200, 401, 403, None for silence
    phone.register(contact="sip:21@198.51.100.7:5060", expires=0)
    phone.invite("100")                     # the final status, or 180 and above while it rings
    phone.listen(seconds)                   # answers OPTIONS; returns the methods that came

Digest authentication is RFC 2617 without qop, which Asterisk offers.
"""
import hashlib
import re
import socket
import time
import uuid


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


class Message:
    """A request or a response; headers by lower-case name, the first of each."""

    def __init__(self, data):
        head, _, self.body = data.decode(errors="replace").partition("\r\n\r\n")
        self.start, *lines = head.split("\r\n")
        self.headers = {}
        self.lines = lines
        for line in lines:
            name, _, value = line.partition(":")
            self.headers.setdefault(name.strip().lower(), value.strip())
        first = self.start.split(" ")
        self.status = int(first[1]) if first[0] == "SIP/2.0" else None
        self.method = None if self.status else first[0]

    def same(self, *names):
        """The lines of these headers, as they came."""
        return [line for line in self.lines if line.partition(":")[0].strip().lower() in names]


class Phone:
    def __init__(self, sock, pbx, user, password, port=5060):
        self.socket, self.pbx, self.user, self.password = sock, (pbx, port), user, password
        self.domain = "[%s]" % pbx if ":" in pbx else pbx
        self.address, self.port = sock.getsockname()[:2]
        self.rport = ";rport"  # "": like a phone that knows of no NAT; then chan_sip believes its Contact
        self.sequence = 0
        self.calls = uuid.uuid4().hex

    @property
    def here(self):
        return ("[%s]:%d" if ":" in self.address else "%s:%d") % (self.address, self.port)

    def request(self, method, uri, to, extra=(), body="", call=None):
        self.sequence += 1
        lines = ["%s %s SIP/2.0" % (method, uri),
                 "Via: SIP/2.0/UDP %s;branch=z9hG4bK%s%s" % (self.here, uuid.uuid4().hex, self.rport),
                 "Max-Forwards: 70",
                 "From: <sip:%s@%s>;tag=%s" % (self.user, self.domain, self.calls[:8]),
                 "To: <%s>" % to,
                 "Call-ID: %s" % (call or self.calls),
                 "CSeq: %d %s" % (self.sequence, method),
                 "User-Agent: a phone", *extra, "Content-Length: %d" % len(body), "", body]
        self.socket.sendto("\r\n".join(lines).encode(), self.pbx)

    def response(self, seconds, method):
        """The next response to the last request that is no 100; None when none comes."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data, peer = self.socket.recvfrom(65536)
            except (socket.timeout, ConnectionRefusedError):
                continue
            message = Message(data)
            if message.method:
                self.answer(message, peer)
            elif message.status > 100 and message.headers.get("cseq") == "%d %s" % (
                    self.sequence, method):
                return message

    def answer(self, message, peer):
        """Anything that is asked of a phone is all right; a call is not taken."""
        if message.method == "ACK":
            return
        status = "486 Busy Here" if message.method == "INVITE" else "200 OK"
        lines = ["SIP/2.0 " + status, *message.same("via", "from", "to", "call-id", "cseq"),
                 "Content-Length: 0", "", ""]
        self.socket.sendto("\r\n".join(lines).encode(), peer)

    def credentials(self, challenge, method, uri):
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
        secret = md5("%s:%s:%s" % (self.user, fields["realm"], self.password))
        fields["response"] = md5("%s:%s:%s" % (secret, fields["nonce"], md5(method + ":" + uri)))
        text = 'Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=MD5' % (
            self.user, fields["realm"], fields["nonce"], uri, fields["response"])
        return text + (', opaque="%s"' % fields["opaque"] if "opaque" in fields else "")

    def transact(self, method, uri, to, extra=(), body="", seconds=2.0):
        """With credentials once they are asked for; the last response."""
        call = uuid.uuid4().hex
        self.request(method, uri, to, extra, body, call)
        answer = self.response(seconds, method)
        if not answer or answer.status not in (401, 407):
            return answer
        if method == "INVITE":
            self.acknowledge(answer, uri, call)
        name = "WWW-Authenticate" if answer.status == 401 else "Proxy-Authenticate"
        header = "Authorization" if answer.status == 401 else "Proxy-Authorization"
        proof = self.credentials(answer.headers[name.lower()], method, uri)
        self.request(method, uri, to, [*extra, "%s: %s" % (header, proof)], body, call)
        answer = self.response(seconds, method)
        if method == "INVITE" and answer and answer.status >= 200:
            self.acknowledge(answer, uri, call)
        return answer

    def acknowledge(self, answer, uri, call):
        lines = ["ACK %s SIP/2.0" % uri, *answer.same("via", "from", "to"), "Call-ID: " + call,
                 "CSeq: %d ACK" % self.sequence, "Max-Forwards: 70", "Content-Length: 0", "", ""]
        self.socket.sendto("\r\n".join(lines).encode(), self.pbx)

    def register(self, contact=None, expires=300, seconds=2.0):
        uri = "sip:%s" % self.domain
        contact = contact or "sip:%s@%s" % (self.user, self.here)
        answer = self.transact("REGISTER", uri, "sip:%s@%s" % (self.user, self.domain),
                               ["Contact: <%s>" % contact, "Expires: %d" % expires], seconds=seconds)
        return answer.status if answer else None

    def invite(self, number, seconds=2.0):
        uri = "sip:%s@%s" % (number, self.domain)
        body = "\r\n".join(["v=0", "o=- 1 1 IN IP4 %s" % self.address, "s=-",
                            "c=IN IP4 %s" % self.address, "t=0 0", "m=audio 40000 RTP/AVP 0", ""])
        answer = self.transact("INVITE", uri, uri,
                               ["Contact: <sip:%s@%s>" % (self.user, self.here),
                                "Content-Type: application/sdp"], body, seconds)
        return answer.status if answer else None

    def listen(self, seconds, until=None):
        """The methods of the requests that came in that time, or until such a one; they are answered."""
        deadline, found = time.monotonic() + seconds, []
        while time.monotonic() < deadline:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data, peer = self.socket.recvfrom(65536)
            except socket.timeout:
                break
            message = Message(data)
            if message.method:
                found.append(message.method)
                self.answer(message, peer)
                if message.method == until:
                    break
        return found

    def close(self):
        self.socket.close()
