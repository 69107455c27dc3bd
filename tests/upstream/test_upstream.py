"""Reading the suite and writing the page, without an engine: python3 -m unittest discover tests/upstream."""

import sys
import unittest
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "bench"))

import measure
import report
import suite
from images import Image

LOG = """\
running 2 tests
test stack::three_at_once ... ok
test stack::is_gone ... FAILED

failures:

---- stack::is_gone stdout ----
the daemon's log

thread 'stack::is_gone' panicked at tests/it/stack.rs:1:
assertion failed: nothing is left
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


failures:
    stack::is_gone

test result: FAILED. 1 passed; 1 failed; 0 ignored
"""


class Suite(unittest.TestCase):
    def setUp(self):
        self.suite = suite.Suite("cargo test")
        suite.read(self.suite, LOG)

    def test_outcomes_and_reasons_are_read(self):
        self.assertEqual(self.suite.tests, [("stack::three_at_once", "ok"), ("stack::is_gone", "FAILED")])
        self.assertEqual(self.suite.reasons["stack::is_gone"][-1], "assertion failed: nothing is left")


class Page(unittest.TestCase):
    images = [Image("db", "supabase/postgres:15", "sha256:1", 2_000_000, 3.0), Image("kong", "supamanager-sandbox/kong:1", "sha256:2", 1_000_000, None)]

    def test_a_good_run_says_so_and_adds_up(self):
        ran = suite.Suite("cargo test", 5.0, [("stack::three_at_once", "ok")])
        measured = measure.Measured(20.0, 2.0, [("folder", "succeeded", 0.01)], {"db": ("healthy", 80.0, 4)})
        text, passed = report.write([("engine", "Docker")], self.images, ran, measured)
        self.assertTrue(passed)
        for part in ("Everything passed.", "| db | healthy | 80 MB | 4 ms |", "3 MB, layers", "built here", "20.0 s", "| folder | succeeded | 0.01 s |"):
            self.assertIn(part, text)

    def test_failures_come_first_with_their_reasons(self):
        ran = suite.Suite("cargo test", 5.0)
        suite.read(ran, LOG)
        measured = measure.Measured(failure="start.2: not_healthy: analytics", log_tail=["out of memory"])
        text, passed = report.write([], self.images, ran, measured)
        self.assertFalse(passed)
        head = text[: text.index("## Images")]
        for part in ("Failed: 2.", "start.2: not_healthy: analytics", "out of memory", "stack::is_gone", "nothing is left"):
            self.assertIn(part, head)
        self.assertNotIn("the daemon's log", head)
        self.assertIn("Not reached.", text)

    def test_a_suite_that_did_not_run_is_a_failure(self):
        _, passed = report.write([], self.images, suite.Suite("cargo test", broken="it ran no test"), measure.Measured())
        self.assertFalse(passed)


class Memory(unittest.TestCase):
    def test_units(self):
        self.assertEqual([measure.megabytes(text) for text in ("512KiB", "12.5MiB ", "1.5GiB", "0B")], [0.5, 12.5, 1536.0, 0.0])
        with self.assertRaisesRegex(ValueError, "12 apples"):
            measure.megabytes("12 apples")


if __name__ == "__main__":
    unittest.main()
