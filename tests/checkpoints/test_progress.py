"""What training says of itself, as it is written and read."""

from preflight.checkpoints.progress import Following, Moment, Said, begin, clock, tell


def test_what_is_said_is_read_once_and_in_order(tmp_path):
    following = Following(tmp_path)
    assert list(following.news()) == [], "nothing has begun"
    begin(tmp_path)
    tell(tmp_path, Moment(phase="loading the model"))
    tell(tmp_path, Said(text="mirror: checkpoint-6 is in drive", level="warning"))
    assert list(following.news()) == [Moment(phase="loading the model"), Said(text="mirror: checkpoint-6 is in drive", level="warning")]
    tell(tmp_path, Moment(step=6, steps=12, loss=0.5))
    assert list(following.news()) == [Moment(step=6, steps=12, loss=0.5)]
    assert list(following.news()) == []


def test_what_an_earlier_session_said_is_not_news(tmp_path):
    begin(tmp_path)
    tell(tmp_path, Said(text="of yesterday"))
    following = Following(tmp_path)
    assert list(following.news()) == []
    begin(tmp_path)
    tell(tmp_path, Said(text="of today"))
    assert list(following.news()) == [Said(text="of today")]


def test_half_a_line_waits_for_the_other_half_and_one_of_another_kind_is_passed_over(tmp_path):
    following = Following(tmp_path)
    begin(tmp_path)
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"kind": "Later"}\n[1, 2]\n{"kind": "Said", "level": "", "te')
        file.flush()
        assert list(following.news()) == []
        file.write('xt": "whole"}\n')
    assert list(following.news()) == [Said(text="whole")]


def test_a_folder_that_is_gone_stops_no_training(tmp_path):
    (tmp_path / "file").write_text("")
    for gone in (tmp_path / "gone", tmp_path / "file"):
        tell(gone, Said(text="to nobody"))
    begin(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_moment_as_a_person_reads_it():
    assert str(Moment(phase="loading the model")) == "loading the model"
    assert str(Moment(step=0, steps=1286)) == "step 0 of 1,286 (0%)"
    whole = Moment(step=643, steps=1286, loss=0.51234, pace=8.04, left=5170)
    assert str(whole) == "step 643 of 1,286 (50%), loss 0.5123, 8 s a step, 1:26:10 left"
    assert str(Moment(step=643, steps=1286, phase="evaluating, batch 4 of 20")) == "step 643 of 1,286 (50%), evaluating, batch 4 of 20"
    assert [clock(seconds) for seconds in (0, 9.6, 61, 3599.7, 36000)] == ["0:00", "0:10", "1:01", "1:00:00", "10:00:00"]
