"""Leases: whose attempt is over, by the signs of life that were seen."""

from darkroom.executor.leases import AttemptKey, Leases

ONE = AttemptKey("job-1", 1, 1)
OTHER = AttemptKey("job-2", 1, 1)


def test_an_attempt_without_a_sign_of_life_expires_after_its_lease() -> None:
    leases = Leases(10.0)
    leases.watch(ONE, 5, 100.0)
    assert leases.expired(110.0) == []
    assert leases.expired(110.1) == [ONE]


def test_a_heartbeat_renews_the_attempts_it_names_and_no_others_of_its_executor() -> None:
    leases = Leases(10.0)
    leases.watch(ONE, 5, 100.0)
    leases.watch(OTHER, 6, 100.0)
    leases.sign_of_life(ONE, 10.0, 109.0)
    assert leases.expired(115.0) == [OTHER]


def test_a_longer_lease_that_its_executor_states_holds() -> None:
    leases = Leases(10.0)
    leases.watch(ONE, 5, 100.0)
    leases.sign_of_life(ONE, 60.0, 101.0)
    assert leases.expired(150.0) == []
    assert leases.expired(161.5) == [ONE]


def test_a_new_event_of_the_attempt_is_a_sign_of_life_and_the_same_one_is_not() -> None:
    leases = Leases(10.0)
    leases.watch(ONE, 5, 100.0)
    leases.watch(ONE, 5, 109.0)
    assert leases.expired(111.0) == [ONE]
    leases.watch(ONE, 7, 111.0)
    assert leases.expired(112.0) == []


def test_what_is_no_longer_watched_is_forgotten_and_unwatched_signs_are_not_kept() -> None:
    leases = Leases(10.0)
    leases.watch(ONE, 5, 100.0)
    leases.sign_of_life(OTHER, 10.0, 100.0)
    leases.keep_only([OTHER])
    assert leases.expired(1000.0) == []
