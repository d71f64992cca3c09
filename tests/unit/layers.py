#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each folder of lib/ includes only its own headers and those of the folders above it, and the core
only what C itself has. An argument: a file to touch when all is well (the build runs this)."""
import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
FOLDERS = ["lib/core", "lib/codec", "lib/edge", "lib/app", "cmd/sipfence"]
# What the core may include of the system: memory, strings and numbers; no clock, no file, no socket.
PURE = {"errno.h", "inttypes.h", "limits.h", "stdalign.h", "stdarg.h", "stdbool.h", "stddef.h",
        "stdint.h", "stdio.h", "stdlib.h", "string.h"}
# Calls of those headers that reach out all the same.
IMPURE = re.compile(r"\b(printf|puts|putchar|fopen|fputs|fprintf|getenv|system|remove|rename|exit|"
                    r"abort|rand|random|time|open|read|write)\s*\(")
# Each foreign interface stands in one source file; epoll in the two that wait for descriptors.
ALONE = {"ares.h": ["lib/edge/resolver.c"],
         "sys/epoll.h": ["lib/edge/resolver.c", "lib/edge/loop.c"]}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)


def check():
    headers = {path.name: folder for folder in FOLDERS for path in (TOP / folder).glob("*.h")}
    for folder in FOLDERS:
        for path in sorted((TOP / folder).glob("*.[ch]")):
            name = path.relative_to(TOP)
            code = without_comments(path.read_text())
            for quote, header in INCLUDE.findall(code):
                if quote == '"' and header not in headers:
                    yield f'{name}: "{header}" is no header of ours'
                elif quote == '"' and FOLDERS.index(headers[header]) > FOLDERS.index(folder):
                    yield f'{name}: includes "{header}" of {headers[header]}, which is below'
                elif quote == "<" and folder == "lib/core" and header not in PURE:
                    yield f"{name}: the core is pure, and may not include <{header}>"
                elif quote == "<" and str(name) not in ALONE.get(header, [str(name)]):
                    yield f"{name}: <{header}> belongs to {', '.join(ALONE[header])} alone"
            if folder == "lib/core":
                for call in IMPURE.findall(re.sub(r'"(\\.|[^"\\])*"', '""', code)):
                    yield f"{name}: the core is pure, and may not call {call}()"
            if str(name) != "lib/edge/kernel.c" and "mnl_socket_" in code:
                yield f"{name}: the netlink socket belongs to lib/edge/kernel.c alone"


def main():
    problems = list(check())
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems and len(sys.argv) > 1:
        Path(sys.argv[1]).touch()
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
