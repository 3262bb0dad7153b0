"""The handler, against a host in memory: PYTHONPATH=sdk python3 -m unittest"""

import unittest

from handler import A_DAY_MS, Codes
from namelock import Busy, Forbidden, Taken
from namelock.fake import Host


class TheCodes(unittest.TestCase):
    def test_a_code_has_one_owner_at_a_time(self) -> None:
        host = Host()
        self.assertEqual(host.register(Codes, " spring ", "ann").name, "SPRING")
        with self.assertRaises(Taken):
            host.register(Codes, "Spring", "bob")
        host.advance(A_DAY_MS)
        self.assertEqual(host.register(Codes, "Spring", "bob").owner, "bob")

    def test_a_code_that_somebody_else_works_on_is_busy(self) -> None:
        host = Host()
        host.lock("SPRING", for_ms=300)
        with self.assertRaises(Busy) as refused:
            host.register(Codes, "spring", "ann")
        self.assertEqual(refused.exception.retry_after_ms, 300)

    def test_only_its_owner_frees_a_code(self) -> None:
        host = Host()
        host.register(Codes, "spring", "ann")
        with self.assertRaises(Forbidden):
            host.free(Codes, "spring", "bob")
        host.free(Codes, "spring", "ann")
        self.assertIsNone(host.find("SPRING"))


if __name__ == "__main__":
    unittest.main()
