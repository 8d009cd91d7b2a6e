"""What was answered is kept as rows, and typed again as options."""

from forecaster.data.sources.answers import Answers

ALL = Answers(
    basis="total-return",
    calendar="XNYS",
    dates="dmy",
    decimal="comma",
    mapping={"close": "Last price", "open": "First"},
    ignore=("volume",),
)


def test_answers_come_back_from_their_rows() -> None:
    assert Answers.of_rows(ALL.rows) == ALL
    assert (Answers().rows, Answers.of_rows({})) == ({}, Answers())


def test_an_answer_of_now_precedes_an_earlier_one() -> None:
    assert Answers(dates="mdy").over(ALL) == Answers.of_rows(ALL.rows | {"dates": '"mdy"'})
    assert Answers().over(ALL) == ALL.over(Answers()) == ALL


def test_answers_are_shown_as_they_are_typed() -> None:
    assert str(ALL) == (
        "--basis total-return --calendar XNYS --dates dmy --decimal comma "
        "--map 'close=Last price' --map open=First --ignore volume"
    )
