#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One transaction is one sendmsg(), however large."""
import json

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

    def size(self):
        listed = self.net.pbx.run(["nft", "-j", "list", "set", "inet", "sipfence", "sip_hosts4"]).stdout
        return json.loads(listed)["nftables"][1]["set"]["size"]

    def test_a_list_that_outgrows_its_set(self):
        """The kernel's set has a size: the table is swapped for one with a larger set."""
        self.fence.config(config(500))
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        size = self.size()
        self.assertGreaterEqual(size, 750)
        self.fence.config(config(size))
        self.assertCode(self.fence.run("sync"), 0)
        self.assertEqual(self.size(), size, "it was not full yet")
        self.fence.config(config(size + 1))
        self.assertIn("swapped table inet sipfence: the list had outgrown its sets;",
                      self.assertCode(self.fence.run("sync", "--yes"), 0).out)
        self.assertGreater(self.size(), size + 1)
        self.assertTrue(self.has(address(size)))
        # The room that is shown is that of a list as long as this.
        self.assertIn(f"size {self.size()}", self.assertCode(self.fence.run("sync", "--dry-run"), 0).out)
        # And it stays as large when the list is short again.
        self.fence.config(config(3))
        self.assertCode(self.fence.run("sync"), 0)
        self.assertGreater(self.size(), size + 1)
        before = self.net.pbx.generation()
        self.assertCode(self.fence.run("sync"), 0)
        self.assertEqual(self.net.pbx.generation(), before)


if __name__ == "__main__":
    main()
