# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for Asterisk's command line, which answers as Asterisk 16 does, and also as a real one
can't be made to: down, still booting, lying, slow, endless. What the real one does is tested in
tests/asterisk."""

import fcntl
import json
import os

# It keeps what it knows in a file beside it, and writes down what it is asked.
STAND_IN = r"""#!/usr/bin/python3 -I
import fcntl, ipaddress, json, os, re, subprocess, sys, time

FOLDER = os.path.dirname(os.path.abspath(__file__))
NOTES = FOLDER + "/notes"
command = sys.argv[-1]
input = sys.stdin.read()
# The test changes the world, too.
turn = open(NOTES + "/turn", "a")
fcntl.flock(turn, fcntl.LOCK_EX)
with open(NOTES + "/world") as file:
    world = json.load(file)
ran = world.get("runs") and subprocess.run(world["runs"], stdout=subprocess.PIPE, text=True).stdout
with open(NOTES + "/asked", "a") as file:
    file.write(json.dumps({"argv": sys.argv[1:], "environment": dict(os.environ), "input": input,
                           "folder": os.getcwd(), "ran": ran, "uid": os.geteuid()}) + "\n")


def wait(seconds):
    fcntl.flock(turn, fcntl.LOCK_UN)
    time.sleep(seconds)
    fcntl.flock(turn, fcntl.LOCK_EX)


def keep():
    new = NOTES + "/world.%d" % os.getpid()
    with open(new, "w") as file:
        json.dump(world, file)
    os.rename(new, NOTES + "/world")


def say(line=""):
    sys.stdout.write(line + "\n")


def lines(path, optional=False):
    try:
        with open(path) as file:
            text = file.read()
    except OSError:
        if optional:
            return
        raise ValueError(path)
    for line in text.splitlines():
        line = line.split(";")[0].strip()
        found = re.fullmatch(r'#(try)?include\s+"?([^"]+)"?', line)
        if found:
            yield from lines(os.path.join(FOLDER, "etc", found[2]), bool(found[1]))
        elif line:
            yield line


def mask(prefix):
    net = ipaddress.ip_network(prefix.strip(), strict=False)
    return "%s/%s" % (net.network_address, "::" if net.version == 6 and net.prefixlen == 0
                      else net.netmask)


def stamp(name):
    try:
        status = os.stat(os.path.join(FOLDER, "etc", name))
        return [status.st_ino, status.st_mtime_ns]
    except OSError:
        return None


# What Asterisk makes of acl.conf: one line that it can't read, and the old ACLs stay. Files that
# have not changed are not read again.
def reload():
    acls, name = {}, None
    read = [stamp(name) for name in
            ("acl.conf", "sipfence_acl.conf", "sipfence/sipfence_acl.conf")]
    if read == world.get("read"):
        return
    world["read"] = read
    for line in lines(FOLDER + "/etc/acl.conf"):
        if line.startswith("["):
            name = line[1:line.index("]")]
            if name == "general":
                raise ValueError(line)
            acls[name] = []
        else:
            key, value = [part.strip() for part in line.split("=", 1)]
            acls[name].append(({"permit": "allow", "deny": "deny"}[key], mask(value)))
    world["acls"] = acls


def show(name):
    if not world["acls"]:
        return
    say()
    if name not in world["acls"]:
        say("Could not find ACL named '%s'" % name)
        return
    say("ACL: " + name)
    say("---------------------------------------------")
    for number, (sense, net) in enumerate(world["acls"][name]):
        say("%3d:%6s - %s" % (number, sense, net))


def answer():
    if command.startswith("acl show "):
        show(command[9:])
    elif command == "module reload acl":
        if not world.get("lies"):
            try:
                reload()
            except ValueError:
                pass
        keep()
        say("Module 'acl' reloaded successfully.")
    elif command.startswith("module show like "):
        name = command[17:]
        say("Module                         Description            Use Count  Status")
        if name in world["modules"]:
            say("%-30s %-22s 0          Running" % (name, "a driver"))
        say("%d modules loaded" % (name in world["modules"]))
    elif command.startswith('database query "SELECT'):
        for key, value in world["contacts"]:
            say("key  : %s" % key)
            say("value: %s" % value)
            say()
    elif command.startswith('database query "UPDATE'):
        key = re.search(r"key='([^']*)'", command)[1]
        world["expired"] = world.get("expired", []) + [key]
        keep()
    elif command.startswith("pjsip show aor "):
        start = "/registrar/contact/%s;@" % command[15:]
        world["contacts"] = [c for c in world["contacts"] if not c[0].startswith(start)
                             or c[0] not in world.get("expired", []) or world.get("returns")]
        keep()
    elif command.startswith("sip unregister ") and "chan_sip.so" in world["modules"]:
        if not world.get("returns"):
            world["contacts"] = [c for c in world["contacts"]
                                 if c[0] != "/SIP/Registry/" + command[15:]]
        keep()
        say("Unregistered peer '%s'" % command[15:])
    elif command == "core show channels concise":
        for channel in world["channels"]:
            say(channel + "!default!100!2!Up!Wait!5!20!!!3!0!!1795378776.0")
    elif command.startswith("channel request hangup "):
        world["channels"].remove(command[23:])
        keep()
        say("Requested Hangup on channel '%s'" % command[23:])
    else:
        return False
    return True


if world.get("down"):
    sys.exit("Unable to connect to remote asterisk (does /var/run/asterisk/asterisk.ctl exist?)")
if world.get("fails"):
    sys.exit(world["fails"])
if world.get("hangs") in (True, command.split()[0]):
    wait(60)
if world.get("endless"):
    while True:
        sys.stdout.write("x" * 65536)
if world.get("garbage"):
    sys.stdout.buffer.write(bytes(range(256)) * 16)
    sys.exit(0)
if world.get("slow"):
    wait(world["slow"])
say("No ethernet interface found for seeding global EID. You will have to set it manually.")
if command == "core waitfullybooted":
    while time.time() < world.get("boots", 0):
        wait(0.02)
    say("Asterisk has fully booted.")
elif time.time() < world.get("boots", 0) or not answer():
    say("No such command '%s' (type 'core show help %s' for other possible commands)"
        % (command, command))
"""


def registered(extension, target):
    return ["/SIP/Registry/%s" % extension,
            "%s:300:%s:sip:%s@%s" % (target, extension, extension, target)]


def contact(extension, uri, number=1, **more):
    return ["/registrar/contact/%s;@%032x" % (more.pop("aor", extension), number),
            json.dumps({"uri": uri, "endpoint": extension, **more})]


class StandIn:
    """A stand-in in a folder of its own: `program`, and its configuration folder `etc`."""

    def __init__(self, folder):
        self.folder = folder
        self.etc = os.path.join(folder, "etc")
        self.file = os.path.join(self.etc, "sipfence_acl.conf")
        self.program = os.path.join(folder, "asterisk")
        self.notes = os.path.join(folder, "notes")
        os.makedirs(self.etc)
        os.makedirs(self.notes)
        with open(os.path.join(self.notes, "turn"), "w") as file:
            os.chmod(file.name, 0o666)  # whoever runs it
        with open(self.program, "w") as file:
            file.write(STAND_IN)
        os.chmod(self.program, 0o755)
        self.world(acls={}, contacts=[], channels=[], modules=["chan_sip.so", "res_pjsip.so"])

    def world(self, **changes):
        """What it knows, with these changes."""
        path = os.path.join(self.notes, "world")
        with open(os.path.join(self.notes, "turn"), "a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            world = {}
            if os.path.exists(path):
                with open(path) as file:
                    world = json.load(file)
            world.update(changes)
            if changes:
                with open(path + ".new", "w") as file:
                    json.dump(world, file)
                os.chmod(path + ".new", 0o666)
                os.rename(path + ".new", path)
        return world

    def asked(self):
        """What it was asked since this was looked at last."""
        path = os.path.join(self.notes, "asked")
        with open(os.path.join(self.notes, "turn"), "a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not os.path.exists(path):
                return []
            with open(path) as file:
                found = [json.loads(line) for line in file]
            os.unlink(path)
        return found

    def commands(self):
        return [one["argv"][-1] for one in self.asked()]
