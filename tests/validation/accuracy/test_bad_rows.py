"""Tables of measured rows that no program should stumble over: one line that names the file."""

import os
from pathlib import Path

import pytest

from hwprofiles import InputError
from validation.accuracy.rows import read_rows

HEAD = "id,rig,machine,model,runtime,args,batch\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{HEAD}a,b,c,d,e,"{"f" * 200_000}",1\n', "broken CSV"),
        (f"{HEAD}a,b,c,d,e,f,{'9' * 5000}x\n", "is no number"),
        (f"{HEAD}a,b,c,d,e,f,nan\n", "must be a number of at least 0"),
        (f"{HEAD}{'a' * 5000},b,c,d,e,f,1\n" * 2, "column id is missing"),
        ("", "column id is missing"),
    ],
)
def test_bad_tables(text: str, said: str, tmp_path: Path) -> None:
    """The line is short, whatever is in the field."""
    path = tmp_path / "rows.csv"
    path.write_text(text.removeprefix(HEAD) if "missing" in said else text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 200


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe that nobody writes to is refused at once."""
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(InputError, match="neither file nor folder"):
        read_rows(tmp_path / "rows.csv")
