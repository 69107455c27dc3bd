"""The bench's arithmetic and its rewriting, without an engine: python3 -m unittest discover tests/bench."""

import unittest
from pathlib import Path
from types import SimpleNamespace

import yaml

import plugin_calls
import spans
import tables
import twin

STACK = """\
name: abcdefghijklmnopqrst
services:
  kong:
    environment: {API_EXTERNAL_URL: "http://127.0.0.1:54000", OTHER: "http://10.201.0.64:540001"}
    ports: ["127.0.0.1:54000:8000"]
  db:
    ports: ["127.0.0.1:55000:5432"]
    logging: {options: {fluentd-address: "10.201.0.62:24224"}}
networks: {default: {ipam: {config: [{subnet: 10.201.0.32/27, gateway: 10.201.0.33}]}}}
volumes: {db-config: {driver_opts: {device: /data/projects/abcdefghijklmnopqrst/volumes/db-config}}}
"""


def line(kind, begin, end, operation="op1", **more):
    own = [{"name": "step", "op.id": operation}] if operation else []
    return {"target": spans.TARGET, "kind": kind, "begin_ms": begin, "end_ms": end, "spans": own, **more}


def at(ms):
    return f"1970-01-01T00:00:{ms / 1000:06.3f}Z"


class OwnTime(unittest.TestCase):
    def create(self, lines):
        ended = {"op.id": "op1", "message": "operation ended", "timestamp": at(2000)}
        steps = [{"name": "start", "started_at": at(1100), "ended_at": at(1900)}]
        return spans.Create(1000, {"id": "op1", "ended_at": at(2000), "steps": steps}, [*lines, ended])

    def test_overlapping_calls_count_once(self):
        shares = self.create([line("engine", 1100, 1300), line("engine", 1200, 1400), line("engine", 1250, 1260)]).shares()
        self.assertEqual((shares["total"], shares["engine"], shares["own"]), (1000, 300, 700))

    def test_a_wait_counts_where_no_call_is_open(self):
        shares = self.create([line("engine", 1100, 1300), line("wait", 1200, 1600, not_yet_ms=1500)]).shares()
        self.assertEqual((shares["engine"], shares["wait"], shares["own"], shares["strict"]), (200, 300, 500, 600))

    def test_a_wait_that_found_everything_ready_is_ours_when_one_is_strict(self):
        shares = self.create([line("wait", 1200, 1300)]).shares()
        self.assertEqual((shares["own"], shares["strict"]), (900, 1000))

    def test_other_operations_and_the_background_do_not_count(self):
        create = self.create([line("engine", 1100, 1300, "op2"), line("engine", 1100, 1300, None)])
        self.assertEqual(create.shares()["own"], 1000)
        self.assertFalse(create.measured())

    def test_the_steps_and_the_rest_add_up(self):
        table = self.create([line("engine", 1050, 1300), line("wait", 1300, 1950, not_yet_ms=1950)]).by_step()
        self.assertEqual(table["start"], {"total": 800, "engine": 200, "wait": 600, "own": 0, "strict": 0})
        self.assertEqual(table["around the steps"], {"total": 200, "engine": 50, "wait": 50, "own": 100, "strict": 100})


class Rewriting(unittest.TestCase):
    def setUp(self):
        other = SimpleNamespace(ref="benchaaaaaaaaaaaaaaa", folder=Path("/bench/twin"), api_port=23821, db_port=23822)
        self.replace = twin.replacements(yaml.safe_load(STACK), other, "10.214.1.0/27")
        self.text = self.replace(STACK)

    def test_nothing_of_the_running_project_is_left(self):
        for left in ("abcdefghijklmnopqrst", "/data/projects", "54000:", ":55000", "10.201.0.32", "10.201.0.33", "10.201.0.62"):
            self.assertNotIn(left, self.text)

    def test_what_is_not_ours_stays(self):
        for kept in ("http://10.201.0.64:540001", "24224", "8000", "5432"):
            self.assertIn(kept, self.text)

    def test_addresses_keep_their_place_in_the_subnet(self):
        self.assertIn("gateway: 10.214.1.1", self.text)
        self.assertIn("10.214.1.30:24224", self.text)
        self.assertIn("device: /bench/twin/volumes/db-config", self.text)

    def test_another_size_of_subnet_is_refused(self):
        with self.assertRaisesRegex(ValueError, "one size"):
            twin.replacements(yaml.safe_load(STACK), None, "10.214.1.0/26")


class Text(unittest.TestCase):
    def test_criterion_names_the_call_on_its_line_or_on_the_one_before(self):
        text = "Benchmarking x\nprobe  time:   [1.10 ms 1.20 ms 1.30 ms]\na name that is too long for its line\n          time:   [9.0 µs 9.1 µs 9.2 µs]\n"
        self.assertEqual(plugin_calls.parse(text), [
            ("probe", "1.10 ms", "1.20 ms", "1.30 ms"),
            ("a name that is too long for its line", "9.0 µs", "9.1 µs", "9.2 µs"),
        ])

    def test_another_hosts_calls_are_compared_with_our_empty_one(self):
        ours = "plugins, 2000 calls\n\nempty probe call, fresh instance         100 us p50       164 us p99\n"
        theirs = "empty call in Extism, fresh instance     250 us p50       300 us p99\n"
        self.assertEqual(plugin_calls.ratios(theirs, ours), [f"{'empty call in Extism, fresh instance over ours':<44} {2.5:>9.2f}x at p50"])

    def test_a_table_is_aligned(self):
        self.assertEqual(list(tables.aligned(("", "ms"), [("first", 5), ("b", 1234)])), ["         ms", "-----  ----", "first     5", "b      1234"])

    def test_a_spread_is_a_median_with_its_range(self):
        self.assertEqual(tables.spread([3.0, 1.0, 2.0]), "2.00 s (1.00 s - 3.00 s)")
        self.assertEqual(tables.ratio([1.0], [2.0]), "0.50")


if __name__ == "__main__":
    unittest.main()
