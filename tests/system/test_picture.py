#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
README's picture of where a packet goes, step by step beside the kernel's table: each rule is a box of
the picture, in the table's order, with the same sets, numbers and ends; and no box is without a rule. Of
the picture of where a name goes, the times beside the manual's defaults.
"""
import os
import re

from harness import REPO, Case, main

CONFIG = """
extensions: {21: 203.0.113.7, 30: local}
local-subnets: [192.168.10.0/24]
mode: %s
replies: %s
nftables: {lock: off}
"""
# What a box says of a rule beside the set's name, by the rule's text.
RULES = (
    (r'iif "lo" accept', "loopback"),
    (r"fib daddr type unicast fib daddr oif != 0 (?:ip6? daddr != @destinations\d )?accept", "forwarded"),
    (r"ip6? saddr @(sip_\w+?)[46] (?:accept|goto sip_reject|update .*)", None),
    (r"ct direction reply accept", "reply"),
    (r"counter packets \d+ bytes \d+", "count"),
    (r"limit rate over (\d+)/second burst \d+ packets (?:drop|accept)", None),
    (r'limit rate (\d+/minute) (?:burst 5 packets )?log prefix "sipfence sip "', None),
    (r"update @(sip_\w+?)[46] \{ ip6? saddr (?:counter )?\}", None),
)


def picture():
    """({name: text}, {name: {text at the arrow: name}}) of README's first chart."""
    with open(os.path.join(REPO, "README.md")) as file:
        text = file.read()
    chart = re.search(r"(?s)## What it does to a packet.*?```mermaid\nflowchart \w+\n(.*?)```", text).group(1)
    boxes, arrows = {}, {}
    for line in chart.splitlines():
        ends = re.split(r"\s*(-- .*? -->|-->)\s*", line.strip())
        names = []
        for part in ends[::2]:
            name, label = re.fullmatch(r"(\w+)(.*)", part).groups()
            if label:
                boxes[name] = label.strip('[({})]"').replace("<br>", " ")
            names.append(name)
        for first, arrow, second in zip(names, ends[1::2], names[1:]):
            arrows.setdefault(first, {})[arrow.strip("- >")] = second
    return boxes, arrows


class Picture(Case):
    shared_net = True

    def chains(self, mode, replies):
        """The kernel's chains: {name: [lines]}."""
        self.fence.config(CONFIG % (mode, replies))
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        text = self.net.pbx.run(["nft", "-y", "list", "table", "inet", "sipfence"]).stdout
        self.table = text
        return {name: [line.strip() for line in body.splitlines()]
                for name, body in re.findall(r"(?ms)^\tchain (\w+) \{\n(.*?)^\t\}", text)}

    def steps(self, chains):
        """What each rule of the two chains says in a box, and where it leads; both families are one."""
        found = []
        for chain in ("sip_guard", "sip_reject"):
            for line in chains[chain]:
                if line in ("goto sip_reject", "drop", "accept"):
                    continue
                for expression, words in RULES:
                    match = re.fullmatch(expression, line)
                    if match:
                        break
                else:
                    self.fail("a rule that the picture does not know: " + line)
                leads = "reject" if line.endswith("goto sip_reject") else \
                    None if not line.endswith((" accept", " drop")) else \
                    "verdict" if chain == "sip_reject" else "pass"
                if "saddr @" in line and line.endswith("}"):
                    continue  # the clock of who knocks, no step of its own
                step = (words or match.group(1), leads)
                if not found or found[-1] != step:
                    found.append(step)
        return found

    def drawn(self, replies):
        """The same, along the picture's "no" from the first box to the verdict."""
        boxes, arrows = picture()
        at, found = "guard", []
        while at != "verdict" and len(found) <= len(boxes):
            if "replies: accept" not in boxes[at] or replies == "accept":
                found.append((boxes[at].replace(",", ""), arrows[at].get("yes")))
            at = arrows[at].get("no") or arrows[at][""]
        return found

    def assertDrawn(self, mode, replies):
        boxes, arrows = picture()
        chains = self.chains(mode, replies)
        wanted, found = self.steps(chains), self.drawn(replies)
        for (words, leads), (text, drawn) in zip(wanted, found):
            self.assertIn(words.replace("/", " lines a "), text)
            self.assertEqual(drawn, leads, text)
        self.assertEqual(len(found), len(wanted), (found, wanted))
        end = boxes[arrows["verdict"]["mode: " + mode]]
        self.assertEqual({"accept": "on its way", "drop": "drop"}[chains["sip_reject"][-1]], end)
        self.assertEqual(chains["sip_guard"][-1], "goto sip_reject")
        hook = re.fullmatch(r"type filter hook (\w+) priority (-\d+); policy accept;", chains["prerouting"][0])
        return hook.groups()

    def test_each_step(self):
        boxes, arrows = picture()
        self.assertEqual(boxes[arrows["entry"]["no"]], "on its way")
        self.assertEqual(arrows["entry"]["yes"], "guard")
        reached = {name for ways in arrows.values() for name in ways.values()}
        self.assertEqual(set(boxes) - reached, {"packet"})
        for mode in ("enforce", "monitor"):
            for replies in ("drop", "accept"):
                with self.subTest(mode=mode, replies=replies):
                    hook, priority = self.assertDrawn(mode, replies)
                    self.assertIn(hook, boxes["entry"])
                    self.assertIn(priority, boxes["entry"])
                    self.assertIn("ports", boxes["entry"])

    def test_how_long_a_source_is_kept(self):
        self.chains("enforce", "accept")
        boxes, _ = picture()
        for name, hours in re.findall(r"(?s)set (sip_re\w+)4 \{.*?timeout (\d)h", self.table):
            with self.subTest(name):
                self.assertTrue([text for text in boxes.values() if name in text and hours + " h" in text])

    def test_times_of_a_name(self):
        with open(os.path.join(REPO, "README.md")) as file:
            chart = re.search(r"(?s)where a name goes:\s+```mermaid\n(.*?)```", file.read()).group(1)
        with open(os.path.join(REPO, "cmd/sipfence/sipfence.yaml.5.scd")) as file:
            manual = file.read()
        drawn = dict(re.findall(r"(?:after|up to) (\d+ \w+): (\w+)\]", chart))
        self.assertEqual(sorted(drawn.values()), ["gone", "hold", "linger"])
        for time, key in drawn.items():
            with self.subTest(key):
                default = re.search(r"(?m)^\*%s\* \(.*; default: _(.*)_\)$" % key, manual).group(1)
                self.assertIn(time.replace(" min", "m").replace(" ", ""), re.findall(r"\w+", default))


if __name__ == "__main__":
    main()
