#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One transaction is one sendmsg(), however large."""
from harness import Case, main

MANY = 100_000


def address(index):
    return f"45.{index >> 16}.{index >> 8 & 255}.{index & 255}"


def config(count, more=""):
    return "extensions:\n" + "".join(
        f"  {1000000 + index}: {address(index)}\n" for index in range(count)) + more


class Large(Case):
    def has(self, text):
        return self.net.pbx.run(
            ["nft", "get", "element", "inet", "sipfence", "sip_hosts4", f"{{ {text} }}"],
            check=False).returncode == 0

    def test_a_hundred_thousand_in_one_transaction(self):
        self.fence.config(config(MANY))
        before = self.net.pbx.generation()
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        self.assertEqual(self.net.pbx.generation(), before + 1)
        for index in (0, 1, MANY // 2, MANY - 1):
            self.assertTrue(self.has(address(index)), address(index))
        self.assertFalse(self.has(address(MANY)))
        # Read back whole, and nothing sent.
        self.assertCode(self.fence.run("sync"), 0)
        self.assertEqual(self.net.pbx.generation(), before + 1)
        # Half of it leaves, in one transaction, too.
        self.fence.config(config(MANY // 2))
        self.assertCode(self.fence.run("sync"), 0)
        self.assertEqual(self.net.pbx.generation(), before + 2)
        self.assertTrue(self.has(address(MANY // 2 - 1)))
        self.assertFalse(self.has(address(MANY // 2)))


if __name__ == "__main__":
    main()
