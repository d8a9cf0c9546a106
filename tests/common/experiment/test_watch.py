from common.experiment.watch import Failure, Watch


class Scripted:
    """Finds what it is told to."""

    def __init__(self, found, stops=False):
        self.found, self.stops = list(found), stops

    def observe(self, record):
        return [Failure(mode, f"It is {mode}.") for mode in self.found.pop(0)]


def take_all(watch, num_rounds):
    return [watch.take({"round": number}) for number in range(1, num_rounds + 1)]


def test_a_mode_is_new_once_and_counted_in_every_round():
    watch = Watch(Scripted([[], ["a"], ["b", "a"], [], ["a"]]))
    a, b = Failure("a", "It is a."), Failure("b", "It is b.")
    taken = [([], []), (["a"], [a]), (["b", "a"], [b]), ([], []), (["a"], [])]
    assert take_all(watch, 5) == taken
    assert watch.modes == {
        "a": {"first_round": 2, "rounds": 3},
        "b": {"first_round": 3, "rounds": 1},
    }
    assert watch.stopped == ""


def test_a_watcher_that_stops_says_why():
    watch = Watch(Scripted([[], ["a", "b"]], stops=True))
    watch.take({"round": 1})
    assert watch.stopped == ""
    watch.take({"round": 2})
    assert watch.stopped == "It is a. It is b."
