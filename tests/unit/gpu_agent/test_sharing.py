"""Slots that several models share: fairly by time while predictions wait, freely while none do."""

from gpu_agent.sharing import PASSED_OVER_S, PATIENCE_S, Sharing


def play(sharing: Sharing[str], runs_s: dict[str, float], for_s: float) -> dict[str, float]:
    """One slot, always something waiting for each model: time that each one got."""
    now, used = 0.0, dict.fromkeys(runs_s, 0.0)
    for model in runs_s:
        sharing.demand(model, 5)
    while now < for_s:
        offers = sharing.offers(dict.fromkeys(runs_s, 1), 1, now)
        assert sum(offers.values()) == 1, "a free slot is offered to one of those that wait"
        (model,) = [model for model, offer in offers.items() if offer]
        charged = sharing.began(model)
        now += runs_s[model]
        used[model] += runs_s[model]
        sharing.ended(model, charged, runs_s[model])
    return used


def test_two_models_get_the_same_time_of_one_slot():
    used = play(Sharing(), {"slow": 10.0, "fast": 0.5}, 1000.0)
    assert abs(used["slow"] - used["fast"]) <= 20.0


def test_while_nothing_waits_every_model_is_offered_all():
    sharing: Sharing[str] = Sharing()
    assert sharing.offers({"a": 2, "b": 1}, 2, 0.0) == {"a": 2, "b": 1}


def test_only_models_that_predictions_wait_for_are_offered_a_slot():
    sharing: Sharing[str] = Sharing()
    sharing.demand("a", 3)
    assert sharing.offers({"a": 1, "b": 1}, 1, 0.0) == {"a": 1, "b": 0}
    sharing.demand("a", 0)
    assert sharing.offers({"a": 1, "b": 1}, 1, 0.0) == {"a": 1, "b": 1}


def test_slots_that_those_cannot_use_are_offered_to_the_others():
    sharing: Sharing[str] = Sharing()
    sharing.demand("a", 3)
    assert sharing.offers({"a": 1, "b": 4}, 3, 0.0) == {"a": 1, "b": 2}


def test_several_slots_are_split():
    sharing: Sharing[str] = Sharing()
    sharing.demand("a", 3)
    sharing.demand("b", 3)
    assert sharing.offers({"a": 4, "b": 4}, 4, 0.0) == {"a": 2, "b": 2}


def test_one_that_was_idle_has_no_credit_for_it():
    sharing: Sharing[str] = Sharing()
    play(sharing, {"busy": 1.0}, 100.0)
    used = play(sharing, {"busy": 1.0, "idle": 1.0}, 20.0)
    assert used["idle"] <= 12.0


def test_a_slot_that_is_not_taken_goes_to_the_next_for_a_while():
    sharing: Sharing[str] = Sharing()
    sharing.demand("cannot", 1)
    sharing.demand("other", 1)
    rooms = {"cannot": 1, "other": 1}
    assert sharing.offers(rooms, 1, 0.0) == {"cannot": 1, "other": 0}
    assert sharing.offers(rooms, 1, PATIENCE_S) == {"cannot": 1, "other": 0}
    later = PATIENCE_S + 0.1
    assert sharing.offers(rooms, 1, later) == {"cannot": 0, "other": 1}
    sharing.ended("other", sharing.began("other"), 10.0)
    assert sharing.offers(rooms, 1, later + 1) == {"cannot": 0, "other": 1}
    sharing.began("other")
    assert sharing.offers(rooms, 1, later + PASSED_OVER_S) == {"cannot": 1, "other": 0}


def test_a_cut_forgets_who_waits():
    sharing: Sharing[str] = Sharing()
    sharing.demand("a", 1)
    sharing.forget_demand()
    assert sharing.offers({"a": 1, "b": 1}, 1, 0.0) == {"a": 1, "b": 1}
