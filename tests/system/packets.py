# SPDX-License-Identifier: GPL-2.0-or-later
"""
Packets as bytes, and a wire to put them on: what no socket would send.

    wire = Wire(net.router, "pbx0", net.pbx, "wan")
    wire.send(kind.packets)
    wire.answers(0.3)            # TCP segments that came back

Kind is one way to knock: a name, the packets, and whether a plain Linux without any filter hands
them to a listener (`delivered`) or answers them (`answered`). The lists of them:

    unicast_kinds(source4, source6, target4, target6)   through routers, too
    link_kinds(source4, source6)                        to this link and to addresses of the machine
    tcp_kinds(source4, source6, target4, target6)

Each datagram holds the kind's name after the tag, so that a listener counts kinds; each segment has
a source port of its own, so that answers can be told apart.
"""
import contextlib
import ipaddress
import json
import select
import socket
import struct
import time
from dataclasses import dataclass, field

SIP = 5060
UDP, TCP, UDP_LITE = 17, 6, 136
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
ETH_IP, ETH_IPV6, ETH_VLAN = 0x0800, 0x86DD, 0x8100
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
BROADCAST_MAC = b"\xff" * 6


# --- bytes ----------------------------------------------------------------------------------------

def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address):
    return ipaddress.ip_address(address).packed


def pseudo_header(source, target, protocol, length):
    if ":" in source:
        return packed(source) + packed(target) + struct.pack("!IxxxB", length, protocol)
    return packed(source) + packed(target) + struct.pack("!xBH", protocol, length)


def udp(source, target, data, port=SIP, source_port=40000, protocol=UDP, sum_it=True):
    length = 8 + len(data)
    plain = struct.pack("!HHHH", source_port, port, length, 0) + data
    value = checksum(pseudo_header(source, target, protocol, length) + plain) or 0xFFFF
    return plain[:6] + struct.pack("!H", value if sum_it else 0) + plain[8:]


def tcp(source, target, flags, source_port, port=SIP, data=b"", sequence=1000, acknowledge=0):
    plain = struct.pack("!HHIIBBHHH", source_port, port, sequence, acknowledge, 5 << 4, flags,
                        64240, 0, 0) + data
    value = checksum(pseudo_header(source, target, TCP, len(plain)) + plain)
    return plain[:16] + struct.pack("!H", value) + plain[18:]


def ipv4(source, target, payload, protocol=UDP, ident=0, offset=0, more=False, options=b"",
         dont_fragment=False, ttl=64):
    """One IPv4 packet; offset in bytes, options a multiple of four bytes."""
    words = 5 + len(options) // 4
    flags = (0x4000 if dont_fragment else 0) | (0x2000 if more else 0) | offset // 8
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(payload), ident, flags, ttl,
                         protocol, 0) + packed(source) + packed(target) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv4_fragments(source, target, payload, ident, cuts, protocol=UDP):
    """The payload cut at these byte offsets (multiples of eight)."""
    edges = [0, *cuts, len(payload)]
    return [ipv4(source, target, payload[start:stop], protocol, ident, start, stop != len(payload))
            for start, stop in zip(edges, edges[1:])]


def ipv6(source, target, payload, following=UDP, hops=64):
    return struct.pack("!IHBB", 6 << 28, len(payload), following, hops) + packed(source) + \
        packed(target) + payload


def options(following, size=8):
    """A hop-by-hop or destination options header of `size` bytes, filled with PadN."""
    body = b""
    room = size - 2
    while room:
        step = min(room, 7)  # Linux refuses more padding in a row than eight bytes
        step = room if room < 7 else step
        body += b"\0" if step == 1 else b"\1" + bytes([step - 2]) + bytes(step - 2)
        room -= step
        if room:
            body += b"\x1e\0"  # an option to be skipped when unknown ends the padding
            room -= 2
    return bytes([following, size // 8 - 1]) + body


def routing(following, kind, addresses=(), left=0):
    data = b"".join(packed(address) for address in addresses)
    return bytes([following, len(data) // 8, kind, left]) + bytes(4) + data


def fragment(following, ident, offset=0, more=False):
    return struct.pack("!BxHI", following, offset | more, ident)


def ipv6_fragments(source, target, payload, ident, cuts, following=UDP, before=b"", first=FRAGMENT):
    """The payload cut at these offsets; `before` holds headers in front of the fragment header."""
    edges = [0, *cuts, len(payload)]
    return [ipv6(source, target, before + fragment(following, ident, start, stop != len(payload)) +
                 payload[start:stop], first) for start, stop in zip(edges, edges[1:])]


# --- the wire -------------------------------------------------------------------------------------

@dataclass
class Packet:
    data: bytes
    mac: bytes = None   # None: the machine's own
    vlan: int = None


@dataclass
class Kind:
    name: str
    packets: list
    delivered: bool = True        # does an unfiltered Linux hand it to a UDP listener
    answered: bool = False        # does it answer this TCP segment
    own_source: bool = False      # the kind is its source address: nobody could be listed for it
    source_port: int = field(default=0)


def mac_of(host, interface):
    listing = json.loads(host.run(["ip", "-j", "link", "show", "dev", interface]).stdout)
    return bytes.fromhex(listing[0]["address"].replace(":", ""))


class Wire:
    """One end of a cable, below any IP stack: frames out, and TCP answers in."""

    def __init__(self, host, interface, machine, machine_interface):
        self.source = mac_of(host, interface)
        self.target = mac_of(machine, machine_interface)
        with host.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((interface, 0))

    def frame(self, packet):
        kind = ETH_IPV6 if packet.data[0] >> 4 == 6 else ETH_IP
        tag = b"" if packet.vlan is None else struct.pack("!HH", ETH_VLAN, packet.vlan)
        return (packet.mac or self.target) + self.source + tag + struct.pack("!H", kind) + packet.data

    def send(self, packets):
        for packet in packets:
            frame = self.frame(packet if isinstance(packet, Packet) else Packet(packet))
            while True:
                try:
                    self.socket.send(frame)
                    break
                except (BlockingIOError, OSError) as error:
                    if error.errno != 105:  # ENOBUFS: the queue is full for a moment
                        raise
                    time.sleep(0.001)

    def discard(self):
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(65536)
        self.socket.setblocking(True)

    def answers(self, seconds):
        """{(our port, TCP flags)} of the segments that arrive within the time."""
        found = set()
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return found
            frame, address = self.socket.recvfrom(65536)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            data = frame[14:]
            if frame[12:14] == b"\x08\x00" and data[9] == TCP:
                segment = data[(data[0] & 15) * 4:]
            elif frame[12:14] == b"\x86\xdd" and data[6] == TCP:
                segment = data[40:]
            else:
                continue
            found.add((struct.unpack_from("!H", segment, 2)[0], segment[13]))

    def close(self):
        self.socket.close()


# --- the kinds ------------------------------------------------------------------------------------

class Tagger:
    """Gives each kind its text and its identification number."""

    def __init__(self, tag, start):
        self.tag, self.ident = tag, start

    def text(self, name, pad=64):
        return ("%s:%s " % (self.tag, name)).encode().ljust(pad, b".")

    def number(self):
        self.ident += 1
        return self.ident


def unicast4_kinds(source, target, tagger):
    def datagram(name, **more):
        return udp(source, target, tagger.text(name), **more)

    def plain(name, udp_more=None, **more):
        return Kind(name, [ipv4(source, target, datagram(name, **(udp_more or {})), **more)])

    def cut(name, cuts, order=slice(None), **more):
        pieces = ipv4_fragments(source, target, datagram(name), tagger.number(), cuts)
        return Kind(name, pieces[order], **more)

    yield plain("v4-plain")
    yield plain("v4-from-5060", {"source_port": SIP})
    yield plain("v4-no-checksum", {"sum_it": False})
    yield plain("v4-router-alert", options=b"\x94\x04\0\0")
    yield plain("v4-record-route", options=b"\x07\x07\x04\0\0\0\0\0")
    yield plain("v4-timestamp", options=b"\x44\x08\x05\0\0\0\0\0")
    yield plain("v4-dont-fragment", dont_fragment=True)
    name = "v4-short-udp-length"  # bytes behind the datagram that UDP does not know of
    yield Kind(name, [ipv4(source, target, datagram(name) + bytes(40))])
    yield cut("v4-fragments", [24])
    yield cut("v4-fragments-header-alone", [8])
    yield cut("v4-fragments-many", [8, 16, 24, 32, 40])
    yield cut("v4-fragments-last-first", [24, 40], slice(None, None, -1))
    yield cut("v4-fragments-first-only", [24], slice(0, 1), delivered=False)
    yield cut("v4-fragments-later-only", [24], slice(1, None), delivered=False)

    name = "v4-fragments-twice"
    pieces = ipv4_fragments(source, target, datagram(name), tagger.number(), [24])
    yield Kind(name, [pieces[0], *pieces])
    # Its first fragment goes to a free port; what overlaps it says 5060.
    name = "v4-fragments-overlapping"
    ident = tagger.number()
    harmless, wanted = datagram(name, port=9), datagram(name)
    for shift, start in (("", 0), ("-2", 8)):
        yield Kind(name + shift, [
            ipv4(source, target, harmless[:24], UDP, ident + start, 0, True),
            ipv4(source, target, wanted[start:32], UDP, ident + start, start, True),
            ipv4(source, target, wanted[32:], UDP, ident + start, 32)], delivered=False)
    tagger.ident += 8
    # Half a UDP header is no fragment at all; the whole datagram behind it has the same number.
    name, ident = "v4-fragments-tiny", tagger.number()
    yield Kind(name, [ipv4(source, target, datagram(name)[:4], UDP, ident, 0, True),
                      ipv4(source, target, datagram(name), UDP, ident, 0)])
    name, ident = "v4-fragments-tiny-cut", tagger.number()
    yield Kind(name, [ipv4(source, target, datagram(name)[:4], UDP, ident, 0, True),
                      ipv4(source, target, datagram(name)[4:], UDP, ident, 8)], delivered=False)
    name = "v4-udp-lite"
    yield Kind(name, [ipv4(source, target, udp(source, target, tagger.text(name),
                                               protocol=UDP_LITE), UDP_LITE)], delivered=False)


def unicast6_kinds(source, target, tagger):
    def datagram(name, **more):
        return udp(source, target, tagger.text(name), **more)

    def behind(name, headers, first, **more):
        return Kind(name, [ipv6(source, target, headers + datagram(name), first)], **more)

    def cut(name, cuts, order=slice(None), inner=b"", following=UDP, **more):
        kind_more = {key: more.pop(key) for key in ("delivered",) if key in more}
        pieces = ipv6_fragments(source, target, inner + datagram(name), tagger.number(), cuts,
                                following, **more)
        return Kind(name, pieces[order], **kind_more)

    yield behind("v6-plain", b"", UDP)
    yield behind("v6-hop-by-hop", options(UDP), HOP_BY_HOP)
    yield behind("v6-destination", options(UDP), DESTINATION)
    yield behind("v6-destination-40", options(UDP, 40), DESTINATION)
    yield behind("v6-destination-twice", options(DESTINATION) + options(UDP), DESTINATION)
    yield behind("v6-routing-2", routing(UDP, 2, [target]), ROUTING)
    yield behind("v6-routing-4", routing(UDP, 4, [target]), ROUTING, delivered=False)
    yield behind("v6-routing-253", routing(UDP, 253), ROUTING)
    yield behind("v6-all-headers", options(DESTINATION) + options(ROUTING) + routing(FRAGMENT, 253) +
                 fragment(DESTINATION, tagger.number()) + options(UDP), HOP_BY_HOP)
    yield behind("v6-atomic", fragment(UDP, tagger.number()), FRAGMENT)
    yield behind("v6-atomic-twice", fragment(FRAGMENT, tagger.number()) +
                 fragment(UDP, tagger.number()), FRAGMENT, delivered=False)
    yield behind("v6-atomic-destination", fragment(DESTINATION, tagger.number()) + options(UDP),
                 FRAGMENT)
    yield cut("v6-fragments", [24])
    yield cut("v6-fragments-header-alone", [8])
    yield cut("v6-fragments-many", [8, 16, 24, 32, 40])
    yield cut("v6-fragments-last-first", [24, 40], slice(None, None, -1))
    yield cut("v6-fragments-destination", [24], inner=options(UDP), following=DESTINATION)
    yield cut("v6-fragments-hop-by-hop", [24], before=options(FRAGMENT), first=HOP_BY_HOP)
    yield cut("v6-fragments-first-only", [24], slice(0, 1), delivered=False)
    yield cut("v6-fragments-later-only", [24], slice(1, None), delivered=False)
    # The UDP header is not in the first fragment: RFC 7112 forbids it, Linux drops it since 5.11.
    yield cut("v6-fragments-header-later", [16], inner=options(UDP, 16), following=DESTINATION,
              delivered=False)
    yield cut("v6-fragments-header-split", [16], inner=options(UDP, 16)[:16],
              following=DESTINATION, delivered=False)
    yield cut("v6-fragments-header-later-2", [8], inner=options(UDP, 16), following=DESTINATION,
              delivered=False)
    # Fragments of a packet that is a fragment itself.
    name = "v6-fragments-nested"
    inner = fragment(UDP, tagger.number()) + datagram(name)
    yield Kind(name, ipv6_fragments(source, target, inner, tagger.number(), [24], FRAGMENT),
               delivered=False)
    name = "v6-fragments-nested-2"
    whole, ident = datagram(name), tagger.number()
    yield Kind(name, [
        *ipv6_fragments(source, target, fragment(UDP, ident, 0, True) + whole[:24],
                        tagger.number(), [24], FRAGMENT),
        *ipv6_fragments(source, target, fragment(UDP, ident, 24) + whole[24:],
                        tagger.number(), [8], FRAGMENT)], delivered=False)
    name, ident = "v6-fragments-overlapping", tagger.number()
    harmless = options(UDP) + datagram(name, port=9)
    wanted = options(UDP) + datagram(name)
    yield Kind(name, [
        ipv6(source, target, fragment(DESTINATION, ident, 0, True) + harmless[:24], FRAGMENT),
        ipv6(source, target, fragment(DESTINATION, ident, 8, True) + wanted[8:32], FRAGMENT),
        ipv6(source, target, fragment(DESTINATION, ident, 32) + wanted[32:], FRAGMENT)],
        delivered=False)


def unicast_kinds(source4, source6, target4, target6, tag, start=0):
    tagger = Tagger(tag, start)
    return [*unicast4_kinds(source4, target4, tagger), *unicast6_kinds(source6, target6, tagger)]


def multicast_mac(address):
    raw = packed(address)
    if len(raw) == 16:
        return b"\x33\x33" + raw[12:]
    return b"\x01\x00\x5e" + bytes([raw[1] & 0x7F]) + raw[2:]


def link_kinds(source4, source6, own4, own6, broadcasts, others, anycasts, link_local, tag):
    """
    What only somebody on the same link can send, and other addresses of the machine: own4/own6 the
    address on the link, broadcasts of its IPv4 subnets, others its other addresses, anycasts its
    subnet-router anycast addresses, link_local its fe80 address.
    """
    tagger = Tagger(tag, 0)

    def one(name, source, target, mac=None, vlan=None, **more):
        build = ipv6 if ":" in source else ipv4
        data = build(source, target, udp(source, target, tagger.text(name)))
        return Kind(name, [Packet(data, mac, vlan)], **more)

    yield one("v4-broadcast-all", source4, "255.255.255.255", BROADCAST_MAC)
    yield one("v4-broadcast-all-unicast-frame", source4, "255.255.255.255")
    for target in broadcasts:
        yield one("v4-broadcast-" + target, source4, target, BROADCAST_MAC)
    yield one("v4-multicast", source4, "224.0.0.1", multicast_mac("224.0.0.1"))
    yield one("v4-in-broadcast-frame", source4, own4, BROADCAST_MAC)
    yield one("v4-priority-tag", source4, own4, vlan=0xE000)
    yield one("v6-priority-tag", source6, own6, vlan=0xE000)
    yield one("v4-to-loopback", source4, "127.0.0.1", delivered=False)
    yield one("v6-to-loopback", source6, "::1", delivered=False)
    for target in others:
        yield one("other-" + target, source6 if ":" in target else source4, target)
    for target in anycasts:
        yield one("v6-anycast-" + target, source6, target)
    for target in ("ff02::1", "ff02::2"):
        yield one("v6-multicast-" + target, source6, target, multicast_mac(target))
    yield one("v6-multicast-other-frame", source6, "ff02::1")
    yield one("v6-link-local", source6, link_local)

    # Sources that are nobody's.
    yield one("v4-from-zero", "0.0.0.0", "255.255.255.255", BROADCAST_MAC, own_source=True)
    yield one("v6-from-zero", "::", own6, own_source=True)
    yield one("v6-from-link-local", "fe80::66", own6, own_source=True)
    yield one("v6-from-link-local-to-all", "fe80::66", "ff02::1", multicast_mac("ff02::1"),
              own_source=True)
    for source, target in (("127.0.0.1", own4), (own4, own4), ("224.0.0.1", own4), ("::1", own6),
                           ("ff02::1", own6)):
        yield one("from-" + source, source, target, delivered=False, own_source=True)

    yield one("from-" + own6, own6, own6, own_source=True)
    yield one("v6-from-v4-mapped", "::ffff:" + source4, own6, own_source=True)

    # A fragmented broadcast and multicast.
    name, target = "v4-broadcast-fragments", "255.255.255.255"
    pieces = ipv4_fragments(source4, target, udp(source4, target, tagger.text(name)), 61000, [8])
    yield Kind(name, [Packet(piece, BROADCAST_MAC) for piece in pieces])
    name, target = "v6-multicast-fragments", "ff02::1"
    pieces = ipv6_fragments(source6, target, udp(source6, target, tagger.text(name)), 61000, [8])
    yield Kind(name, [Packet(piece, multicast_mac(target)) for piece in pieces])


def tcp_kinds(source4, source6, target4, target6, first_port=20000):
    """Segments: `answered` ones get a SYN-ACK or a RST from an unfiltered machine."""
    port = first_port
    shapes = (("syn", SYN, b""), ("syn-data", SYN, b"REGISTER"), ("syn-psh", SYN | PSH, b""),
              ("ack", ACK, b""), ("data", ACK | PSH, b"REGISTER"), ("syn-ack", SYN | ACK, b""),
              ("fin-ack", FIN | ACK, b""), ("fin", FIN, b""), ("null", 0, b""),
              ("xmas", FIN | PSH | URG, b""), ("rst", RST, b""))
    for name, flags, data in shapes:
        answered = bool(flags & ACK) or flags & (SYN | FIN) == SYN
        for source, target, build in ((source4, target4, ipv4), (source6, target6, ipv6)):
            port += 1
            yield Kind("tcp%d-%s" % (4 if build is ipv4 else 6, name), [
                build(source, target, tcp(source, target, flags, port, data=data,
                                          acknowledge=1 if flags & ACK else 0), TCP)],
                answered=answered, source_port=port)
    port += 1
    yield Kind("tcp4-5061", [ipv4(source4, target4, tcp(source4, target4, SYN, port, 5061), TCP)],
               answered=True, source_port=port)
    port += 1
    yield Kind("tcp4-syn-fragments", ipv4_fragments(
        source4, target4, tcp(source4, target4, SYN, port), port, [8], TCP),
        answered=True, source_port=port)
    port += 1
    segment = tcp(source6, target6, SYN, port, data=b"REGISTER")
    yield Kind("tcp6-syn-fragments", ipv6_fragments(source6, target6, segment, port, [24], TCP),
               answered=True, source_port=port)
    port += 1
    segment = tcp(source6, target6, SYN, port)
    yield Kind("tcp6-syn-header-split", ipv6_fragments(source6, target6, segment, port, [8], TCP),
               source_port=port)
    port += 1
    segment = tcp(source6, target6, SYN, port)
    yield Kind("tcp6-syn-destination", [ipv6(source6, target6, options(TCP) + segment, DESTINATION)],
               answered=True, source_port=port)
    port += 1
    segment = tcp(source6, target6, SYN, port)
    yield Kind("tcp6-syn-atomic", [ipv6(source6, target6, fragment(TCP, port) + segment, FRAGMENT)],
               answered=True, source_port=port)
