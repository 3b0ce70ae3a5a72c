"""CSV files for the linear regression: what is read, and where and why a file is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.jobs.conftest import ROWS, load_csv, refusal, write


class TestCsv:
    def test_every_other_numeric_column_is_a_feature(self, houses: Path) -> None:
        write(houses, "area,city,price,rooms", *(f"{n},Riga,{n * n},{n + 1}" for n in range(10)))
        dataset = load_csv(houses, "price")
        assert (dataset.train.features, dataset.train.target) == (("area", "rooms"), "price")
        assert np.array_equal(dataset.train.x[:, 0] ** 2, dataset.train.y)

    def test_windows_and_excel_dialects_are_read(self, houses: Path) -> None:
        houses.write_bytes(b'\xef\xbb\xbf"x"; "y"\r\n' + b"".join(f'"{n}";{n * n}\r\n'.encode() for n in range(5)))
        assert sorted(load_csv(houses).train.x[:, 0] ** 2) == sorted(load_csv(houses).train.y)

    def test_tabs_and_blank_lines_are_read(self, houses: Path) -> None:
        write(houses, "", "x\ty", "", *(f"{n}\t{n}" for n in range(5)), "")
        assert len(load_csv(houses).train) + len(load_csv(houses).test) == 5

    def test_many_rows_are_read(self, houses: Path) -> None:
        write(houses, "x,y", *(f"{n},{n}" for n in range(25_001)))
        dataset = load_csv(houses, test_fraction=0.5)
        assert np.array_equal(np.sort(np.concatenate([dataset.train.y, dataset.test.y])), np.arange(25_001.0))

    def test_numbers_are_read_to_the_last_bit(self, houses: Path) -> None:
        numbers = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.arange(-150, 150, 0.3)
        write(houses, "x,y", *(f"{float(x)!r},{y}" for y, x in enumerate(numbers)))
        write(houses.with_name("more.csv"), "x,y", *ROWS)
        assert np.array_equal(load_csv(houses, test_data="more.csv").train.x[:, 0], numbers)

    def test_a_text_far_down_is_found(self, houses: Path) -> None:
        sentence = refusal(houses, "x,y", *(f"{n},{n}" for n in range(15_000)), "oops,1")
        assert sentence.startswith("houses.csv, line 15002, column 'x': 'oops' is not a number")

    def test_a_column_of_half_text_is_left_out(self, houses: Path) -> None:
        write(houses, "x,code,y", "1,7,2", "2,a,3", "3,8,5", "4,b,4")
        assert load_csv(houses).train.features == ("x",)

    def test_test_data_is_matched_by_name(self, houses: Path) -> None:
        write(houses, "a,b,y", "1,2,3", "2,5,4", "3,1,9")
        write(houses.with_name("more.csv"), "y,note,b,a", "30,hm,20,10")
        dataset = load_csv(houses, test_data="more.csv")
        assert (dataset.test.x.tolist(), dataset.test.y.tolist(), len(dataset.train)) == ([[10, 20]], [30], 3)

    def test_test_data_without_a_feature_is_refused(self, houses: Path) -> None:
        write(houses.with_name("more.csv"), "areas,y", "1,2")
        assert refusal(houses, "area,y", *ROWS, test_data="more.csv") == (
            "more.csv has no column 'area' (a feature of the training data); did you mean 'areas'? "
            "its columns are 'areas', 'y'"
        )


class TestCsvRefusals:
    def test_missing_target(self, houses: Path) -> None:
        assert refusal(houses, "area,price", *ROWS, target="pirce") == (
            "houses.csv has no column 'pirce' (target); did you mean 'price'? its columns are 'area', 'price'"
        )

    @pytest.mark.parametrize(
        ("cell", "what"),
        [
            ("n/a", "'n/a' is not a number"),
            ("", "the cell is empty"),
            ("NaN", "'NaN' is not a number"),
            ("-inf", "'-inf' is not a finite number"),
            ("1_000", "'1_000' is not a number"),
            ("z" * 50, f"'{'z' * 40}…' is not a number"),
        ],
    )
    def test_a_bad_cell_of_a_feature(self, houses: Path, cell: str, what: str) -> None:
        assert refusal(houses, "x,y", *ROWS, f"{cell},9") == (
            f"houses.csv, line 7, column 'x': {what}; write a number, or remove the row"
        )

    def test_a_bad_cell_of_the_target(self, houses: Path) -> None:
        assert refusal(houses, "x,y", "0,cheap", *ROWS) == (
            "houses.csv, line 2, column 'y': 'cheap' is not a number; write a number, or remove the row"
        )

    def test_all_columns_with_bad_cells_are_named_at_once(self, houses: Path) -> None:
        assert refusal(houses, "x,y", *ROWS, "?,1", "?,", "2,2").splitlines() == [
            (
                "houses.csv, line 7, column 'x': '?' is not a number (and 1 more below); "
                "write a number, or remove the row"
            ),
            "houses.csv, line 8, column 'y': the cell is empty; write a number, or remove the row",
        ]

    def test_a_target_of_text(self, houses: Path) -> None:
        assert refusal(houses, "x,y", "1,low", "2,high", "3,3") == (
            "houses.csv, line 2, column 'y': 'low' is not a number (and 1 more below); "
            "the target must be a column of numbers"
        )

    def test_no_feature(self, houses: Path) -> None:
        assert refusal(houses, "city,y", "Riga,1", "Bonn,2", "Oslo,3") == (
            "houses.csv has no column of numbers besides the target 'y'; it needs a feature"
        )

    def test_constant_target(self, houses: Path) -> None:
        assert refusal(houses, "x,y", "1,3", "2,3", "3,3", "4,3", "5,3") == (
            "houses.csv, column 'y': all 4 training rows contain 3; the target must vary, or there is nothing to learn"
        )

    def test_one_row(self, houses: Path) -> None:
        assert refusal(houses, "x,y", "1,3") == (
            "houses.csv has 1 row; it needs at least 2 to train on and 1 to test on; add rows, or give test_data"
        )

    def test_one_row_beside_test_data(self, houses: Path) -> None:
        write(houses.with_name("more.csv"), "x,y", *ROWS)
        assert refusal(houses, "x,y", "1,3", test_data="more.csv") == (
            "houses.csv: training rows: 1, test rows: 5; at least 2 and 1 are needed; add rows"
        )

    def test_ragged_rows(self, houses: Path) -> None:
        assert refusal(houses, "x,y", "1,2", "1,2,3") == (
            "houses.csv, line 3: 3 cells, but the header has 2; correct the row"
        )

    def test_a_short_row(self, houses: Path) -> None:
        assert refusal(houses, "x,y", *ROWS, "1") == (
            "houses.csv, line 7, column 'y': the cell is empty; write a number, or remove the row"
        )

    def test_lines_are_counted_as_an_editor_does(self, houses: Path) -> None:
        rows = ["", "note,x,y", '"two\nlines",1,2', "", *(f",{row}" for row in ROWS), ",oops,1"]
        assert refusal(houses, *rows).startswith("houses.csv, line 11, column 'x': 'oops' is not a number;")
        assert refusal(houses, *rows[:-1], ",1,2,3") == (
            "houses.csv, line 11: 4 cells, but the header has 3; correct the row"
        )

    def test_of_many_bad_columns_ten_are_named(self, houses: Path) -> None:
        names = [f"x{number}" for number in range(12)]
        rows = [",".join(["1"] * 12 + [str(y)]) for y in range(5)]
        lines = refusal(houses, ",".join([*names, "y"]), *rows, ",".join(["?"] * 12 + ["9"])).splitlines()
        assert [line.partition(":")[0] for line in lines[:-1]] == [
            f"houses.csv, line 7, column {name!r}" for name in names[:10]
        ]
        assert lines[-1] == "houses.csv: 2 more columns have such cells"

    def test_an_unclosed_quote(self, houses: Path) -> None:
        assert refusal(houses, "x,y", "1,2", '"1,2') == (
            "houses.csv, line 3: not CSV (unexpected end of data); correct the quotes of the row"
        )

    def test_columns_of_one_name(self, houses: Path) -> None:
        assert refusal(houses, "x,y,x", "1,2,3") == (
            "houses.csv, line 1: 2 columns are named 'x'; give each a name of its own"
        )

    def test_a_column_without_a_name(self, houses: Path) -> None:
        assert refusal(houses, ",x,y", "0,1,2") == (
            "houses.csv, line 1: column 1 has no name; name it, or remove the column"
        )

    def test_no_header(self, houses: Path) -> None:
        assert refusal(houses, *ROWS) == (
            "houses.csv, line 1: '1', '2' are numbers, not names; put a header above them, like x,y"
        )

    def test_only_a_header(self, houses: Path) -> None:
        assert refusal(houses, "x,y") == "houses.csv has a header but no rows; add rows of numbers below it"

    @pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
    def test_an_empty_file(self, houses: Path, content: str) -> None:
        houses.write_text(content, encoding="utf-8")
        assert refusal(houses) == (
            "houses.csv is empty; it needs a header with the names of the columns, and rows of numbers"
        )

    def test_another_encoding(self, houses: Path) -> None:
        houses.write_bytes("x,y\n1,2\nZürich,3\n".encode("latin-1"))
        assert refusal(houses) == "houses.csv, line 3: this is not UTF-8 text; save the file as CSV in UTF-8"

    def test_a_binary_file(self, houses: Path) -> None:
        houses.write_bytes(b"PK\0\0\0\0,\0\n")
        assert refusal(houses) == "houses.csv is a binary file; save it as CSV in UTF-8"

    def test_a_missing_file(self, houses: Path) -> None:
        assert refusal(houses) == (
            f"data: there is no file houses.csv in {houses.parent}; relative paths start beside the cluster file"
        )

    def test_a_directory(self, houses: Path) -> None:
        houses.mkdir()
        assert refusal(houses) == "data: houses.csv is a directory; name a file"
