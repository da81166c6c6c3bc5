"""README and benchmarks/README.md say what the rows in mnist_helpers/results say."""

import os
import re
import signal
from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path

import mnist_helpers as mh
import open_choices
import pytest
import tables

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS = tables.README.read_text(encoding="utf-8")
NUMBER = re.compile(r"\d[\d,]*\.\d+|\d+(?= ?%)")
# Numbers that no row can hold: versions, settings, goals, and what others have published.
GIVEN = {
    *("3.11", "3.12", "2.15", "0.2.0", "0.003", "0.05", "0.2", "0.5", "95", "99"),
    *("99.4", "99.04", "0.76", "99.22", "99.50"),
}


def plain(text):
    """The prose: without tables, code and addresses."""
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.S)
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))


def test_every_table_is_made_of_the_rows():
    assert set(re.findall(r"<!-- table: ([\w ]+) -->", BENCHMARKS)) == set(tables.TABLES)
    assert tables.with_tables(BENCHMARKS) == BENCHMARKS, "run `make tables`"


def test_every_number_in_the_prose_is_in_a_table():
    known = {number for table in tables.TABLES.values() for number in NUMBER.findall(table())}
    for text in (README, BENCHMARKS):
        unknown = set(NUMBER.findall(plain(text))) - known - GIVEN
        assert not unknown, f"no row says {sorted(unknown)}"


def test_every_table_of_results_has_rows_behind_it():
    """But what names scripts or notebooks."""
    for text in (README, BENCHMARKS):
        for before, header in re.findall(r"([^\n]*)\n(\|[^\n]*)\n\| --- ", text):
            told = header.startswith(("| script |", "| notebook |"))
            assert told or before.startswith("<!-- table: "), f"no marker above {header}"


def test_the_open_choices_are_compared_with_the_zoos():
    for name, chosen in tables.CHOSEN.items():
        scaling, changes = open_choices.candidates(name)[chosen]
        entry = mh.ZOO[name]
        assert replace(entry.recipe, **changes) == entry.recipe
        normalize = entry.build()[0]
        found = normalize.mean.item(), normalize.std.item()
        assert found == pytest.approx(open_choices.SCALINGS[scaling])


def test_a_stale_number_would_be_found():
    stale = BENCHMARKS.replace("99.75 ± 0.03 (n 10)", "99.71 ± 0.01 (n 10)")
    assert stale != BENCHMARKS
    assert tables.with_tables(stale) == BENCHMARKS


def cells(table, model):
    """The cells of a model's last line, without bars and backticks."""
    lines = [line.replace("`", "").strip("| ").split(" | ") for line in table.splitlines()]
    return [line for line in lines if line[0] == model][-1]


def test_the_readmes_headlines_are_those_of_their_models():
    readme = " ".join(README.split())
    race, records = tables.race(), tables.TABLES["records"]()
    for model, table, column in (
        *((name, tables.published(), 3) for name in ("two_conv_dropout", "vgg", "lenet")),
        *((name, records, 3) for name in ("record", "tiny")),
        ("fast_99", race, 1),
    ):
        mean, sd = re.findall(r"\d+\.\d\d", cells(table, model)[column])
        assert re.search(rf"`{model}`[^`]*? {re.escape(mean)} % ± {sd}", readme), model
    assert f"usual script took about {cells(race, 'usual script')[4]} times as long" in readme
    assert f"in {cells(race, 'fast_99')[3].split()[0]} seconds" in readme


def test_rows_are_added_and_replaced_and_old_cells_stay_as_they_are(tmp_path):
    path = tmp_path / "new" / "rows.csv"
    mh.results.add_rows(path, [{"table": "a", "seconds": 0.1, "mistakes": [3, 14]}], ["name"])
    path.write_text(path.read_text() + "two words,b,1.50,\n")
    before = path.read_text().splitlines()
    mh.results.add_rows(path, [{"name": "x, y", "table": "c", "machine": "new"}])
    assert path.read_text().splitlines() == [
        "name,table,seconds,mistakes,machine",
        *(f"{line}," for line in before[1:]),
        '"x, y",c,,,new',
    ]
    mh.results.add_rows(path, [{"table": "a", "seconds": 2}], replacing={"table": "a"})
    frame = mh.results.read_rows(path)
    assert frame["table"].tolist() == ["b", "c", "a"]
    assert frame["mistakes"].tolist() == [[], [], []]
    assert frame["seconds"].tolist()[0] == 1.5


def test_any_name_of_a_model_is_read_as_it_is(tmp_path):
    mh.results.add_rows(tmp_path / "rows.csv", [{"model": "NA"}, {"model": "1e3"}])
    assert mh.results.read_rows(tmp_path / "rows.csv")["model"].tolist() == ["NA", "1e3"]


def test_a_damaged_file_is_neither_read_nor_added_to(tmp_path):
    path = tmp_path / "rows.csv"
    for content in (b"", b"a,b\n1,2\n1,2,3\n", b"a,b\n1,2", b"\x89PNG\r\n\x1a\n\x00\xff"):
        path.write_bytes(content)
        for use in (mh.results.read_rows, lambda path: mh.results.add_rows(path, [{"a": 1}])):
            with pytest.raises(mh.results.ResultsError, match=r"rows\.csv is damaged or holds"):
                use(path)
        assert path.read_bytes() == content
    with pytest.raises(mh.results.ResultsError, match="no results in"):
        mh.results.read_rows(tmp_path / "none.csv")


def test_a_part_that_a_script_does_not_have_is_refused_by_name():
    parts = tables.one_of(["ladder", "steps"])
    assert parts("steps") == "steps"
    with pytest.raises(ArgumentTypeError, match="no 'stairs': choose of ladder, steps"):
        parts("stairs")


def test_counts_and_devices_that_make_no_rows_are_refused_so_that_old_rows_stay():
    assert (tables.positive("3"), tables.device("cpu")) == (3, "cpu")
    for wrong in ("0", "-1", "two", "1.5", ""):
        with pytest.raises(ArgumentTypeError, match="whole number from 1 on"):
            tables.positive(wrong)
    with pytest.raises(ArgumentTypeError, match="no device 'tpu' here"):
        tables.device("tpu")


def test_what_a_file_lacks_is_measured_and_added_at_once(tmp_path, make_digits, capsys):
    path, seen = tmp_path / "rows.csv", []

    def work(piece, digits):
        seen.append((piece["model"], piece["seed"]))
        if piece == {"model": "b", "seed": 1}:
            os.kill(os.getpid(), signal.SIGTERM)  # asked to end, as a batch system does
        return [{"errors": len(digits) + piece["seed"]}]

    plan = [{"model": model, "seed": seed} for seed in range(2) for model in "ab"]
    mh.results.add_rows(path, [{"model": "a", "seed": 0, "errors": 5}])
    attempt = tables.one_line_errors()(tables.measure_missing)
    with pytest.raises(SystemExit) as stopped:
        attempt(path, plan, work, [make_digits(3)], jobs=1)
    assert stopped.value.code == 130
    attempt(path, plan[:3], work, [make_digits(3)], jobs=1)
    assert seen == [("b", 0), ("a", 1), ("b", 1)]  # what was there, and what is done, once
    assert path.read_text() == "model,seed,errors\na,0,5\nb,0,3\na,1,4\n"
    assert capsys.readouterr().err == "stopped; the same command goes on\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    other = tmp_path / "other.csv"
    other.write_text("table,seconds\na,1\n")
    for refused, told in ((other, "other.csv is damaged or holds"), (path / "x.csv", "x.csv")):
        with pytest.raises(SystemExit) as stopped:
            attempt(refused, plan, work, [make_digits(3)], jobs=1)
        error = capsys.readouterr().err
        assert (stopped.value.code, error.count("\n"), told in error) == (2, 1, True)
    assert len(seen) == 3  # nothing was measured for them
    assert other.read_text() == "table,seconds\na,1\n"
