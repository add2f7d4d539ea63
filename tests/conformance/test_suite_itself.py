"""The shipped suite finds what it should: each wrong store fails exactly the tests named here, and stores that declare less pass."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

import holdall
from holdall import Backend, Capability, ConfigurationError
from holdall.store import Store
from holdall.testing import Never, NotImpl, NotYet, StoreSuite
from holdall.testing.suite import CHECKS, OpenBackend, prove
from holdall.testing.suite_checks import Check
from holdall.testing.suite_refusals import PROBED
from tests.conformance.wrong_stores import WRONG, Fault, WrongStore

# Random conditions find most of these faults, too, and cost more than all other tests.
DETERMINED = [check for check in CHECKS if not check.name.startswith("test_random_")]
EXPECTED = {
    "ignores a filter": """
        comparisons_by_order_are_false_for_none
        conditions_combine
        ranges_of_a_key_have_just_their_ends
    """,
    "compares case-insensitively": """
        inequality_is_the_complement_of_equality
        texts_are_equal_exactly
    """,
    "drops None from inequality": """
        writes_by_query_see_none_as_queries_do
        equality_takes_none_for_a_value
        inequality_is_the_complement_of_equality
        texts_are_equal_exactly
        true_is_not_one
        count_and_exists_see_what_the_query_gives
        an_index_answers_ranges_and_filters_exactly
    """,
    "ignores None in membership": """
        booleans_are_found_by_equality
        integers_are_found_by_equality
        floats_are_found_by_equality
        texts_are_found_by_equality
        bytes_are_found_by_equality
        decimals_are_found_by_equality
        long_decimals_are_found_by_equality
        uuids_are_found_by_equality
        dates_are_found_by_equality
        datetimes_are_found_by_equality
        times_are_found_by_equality
        timedeltas_are_found_by_equality
        enums_are_found_by_equality
        literals_are_found_by_equality
        writes_by_query_see_none_as_queries_do
        membership_takes_none_for_a_value
        conditions_combine
        count_and_exists_see_what_the_query_gives
    """,
    "takes % for a wildcard": """
        wildcards_are_taken_literally
    """,
    "counts months from zero": """
        months_and_days_are_those_of_utc
    """,
    "sorts nulls first": """
        orders_by_boolean
        orders_by_integer
        orders_by_float
        orders_by_text
        orders_by_bytes
        orders_by_decimal
        orders_by_long_decimal
        orders_by_uuid
        orders_by_date
        orders_by_datetime
        orders_by_time
        orders_by_timedelta
        orders_by_enum
        orders_by_literal
        awkward_stored_names_work_everywhere
        none_is_last_unless_asked_first
        the_order_of_the_model_counts_where_none_is_stated
        pages_show_each_record_once_forwards_and_backwards
        an_index_orders_by_its_fields_and_the_key_with_none_at_either_end
        an_index_answers_ranges_and_filters_exactly
        pages_by_key_and_by_index_show_each_record_once
    """,
    "breaks no ties": """
        the_key_breaks_ties_in_the_direction_of_the_last_term
        pages_show_each_record_once_forwards_and_backwards
    """,
    "ignores the offset": """
        an_offset_skips_what_matches
    """,
    "limits before it filters": """
        a_limit_counts_what_matches
        pages_keep_to_the_filter_and_cursors_to_their_query
        the_second_part_of_a_key_orders_what_shares_the_first
        an_index_orders_by_its_fields_and_the_key_with_none_at_either_end
        an_index_answers_ranges_and_filters_exactly
        pages_by_key_and_by_index_show_each_record_once
    """,
    "counts with a limit": """
        count_and_exists_see_what_the_query_gives
    """,
    "returns shared objects": """
        two_reads_share_no_objects
        a_block_that_raises_sends_nothing
        the_end_of_the_block_commits_all_of_it
        a_version_prevents_lost_updates
        saves_of_one_version_have_one_winner
        reads_at_once_are_each_ones_own
    """,
    "strips trailing spaces": """
        texts_come_back_unchanged
        enums_come_back_unchanged
        texts_are_found_by_equality
        enums_are_found_by_equality
        orders_by_text
        orders_by_enum
        texts_are_keys
        enums_are_keys
        unique_fields_permit_many_none_and_tell_texts_apart
        inequality_is_the_complement_of_equality
        texts_are_equal_exactly
        conditions_combine
        texts_are_ordered_by_code_point
    """,
    "loses microseconds": """
        datetimes_come_back_unchanged
        datetimes_are_found_by_equality
        orders_by_datetime
        datetimes_come_back_in_utc
        datetimes_are_keys
        every_write_counts_the_version_and_sets_the_time
        a_stale_version_is_a_conflict_for_save_update_and_delete
        upsert_ignores_the_version_and_keeps_the_time_of_the_create
        an_update_by_query_counts_versions_and_sets_times
        a_batch_writes_everything_at_its_end
        a_batch_of_which_one_write_fails_writes_nothing
        a_batch_takes_writes_of_every_kind
    """,
    "keeps decimals as floats": """
        decimals_come_back_unchanged
        long_decimals_come_back_unchanged
        decimals_are_found_by_equality
        long_decimals_are_found_by_equality
        decimals_are_keys
    """,
    "loses the time of timedeltas": """
        timedeltas_come_back_unchanged
        timedeltas_are_found_by_equality
        orders_by_timedelta
        timedeltas_are_keys
    """,
    "drops updates by composite keys": """
        composite_keys_go_by_the_order_of_declaration
        what_a_write_changes_moves_in_the_index
    """,
    "ignores the version": """
        a_stale_version_is_a_conflict_for_save_update_and_delete
        a_batch_of_which_one_write_fails_writes_nothing
        a_version_prevents_lost_updates
        saves_of_one_version_have_one_winner
    """,
    "creates what an update misses": """
        save_and_update_of_what_is_gone_create_nothing
        a_batch_of_which_one_write_fails_writes_nothing
    """,
    "upserts by a unique field": """
        a_taken_unique_value_is_a_duplicate_on_every_kind_of_write
        an_upsert_never_overwrites_the_record_with_the_same_unique_value
    """,
    "overwrites on create": """
        texts_are_keys
        integers_are_keys
        bytes_are_keys
        decimals_are_keys
        dates_are_keys
        datetimes_are_keys
        times_are_keys
        timedeltas_are_keys
        booleans_are_keys
        enums_are_keys
        integer_enums_are_keys
        uuids_are_keys
        composite_keys_go_by_the_order_of_declaration
        generated_keys_are_filled_and_never_given_twice
        a_write_that_failed_leaves_a_generated_key_unset
        a_taken_key_is_a_duplicate_and_keeps_its_record
        a_batch_of_which_one_write_fails_writes_nothing
        after_a_database_error_nothing_goes_on_until_the_rollback
        a_database_error_inside_a_savepoint_leaves_the_rest_usable
        creates_that_race_for_one_key_have_one_winner
        generated_keys_are_distinct_under_load
    """,
    "counts changed rows, not matched ones": """
        awkward_stored_names_work_everywhere
        an_update_by_query_changes_and_counts_what_matches
    """,
    "stops bulk writes halfway": """
        create_many_is_all_or_nothing
    """,
    "commits on error": """
        a_batch_of_which_one_write_fails_writes_nothing
        an_exception_rolls_back_and_goes_on
        commit_and_rollback_inside_the_block_begin_anew
        after_a_database_error_nothing_goes_on_until_the_rollback
    """,
    "ignores nowait": """
        nowait_refuses_to_wait
    """,
    "ignores locks": """
        a_lock_prevents_lost_updates
        nowait_refuses_to_wait
    """,
    "leaks the right to write on cancel": """
        a_cancelled_block_rolls_back_and_lets_others_write
    """,
    "undoes nothing at a savepoint": """
        an_exception_undoes_its_savepoint_alone
        a_database_error_inside_a_savepoint_leaves_the_rest_usable
    """,
    "writes in read-only sessions": """
        a_read_only_session_reads_and_refuses_writes
    """,
    "has no snapshots": """
        a_snapshot_stays_as_it_was
        a_write_on_a_stale_snapshot_is_a_serialization_error
        serializable_sessions_lose_no_update
    """,
}


def opening(fault: Fault) -> OpenBackend:
    @asynccontextmanager
    async def open_backend() -> AsyncGenerator[Backend]:
        async with holdall.open("memory://") as backend:
            backend.use_store(cast("Store", WrongStore(backend.store, fault)))
            yield backend

    return open_backend


async def passes(check: Check, fault: Fault) -> bool:
    try:
        async with asyncio.timeout(20):
            await prove(check, opening(fault))
    except Exception:  # noqa: BLE001  - whatever a wrong store makes of it
        return False
    return True


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_store_fails_exactly_its_tests(name: str) -> None:
    fault = WRONG[name]()

    failed = [check.name.removeprefix("test_") for check in DETERMINED if not await passes(check, fault)]

    assert failed == EXPECTED[name].split()
    assert failed != []


@pytest.mark.parametrize("name", ["drops None from inequality", "ignores None in membership", "ignores a filter"])
async def test_random_conditions_find_faults_of_conditions(name: str) -> None:
    assert not await passes(CHECKS["test_random_conditions_agree_with_the_oracle"], WRONG[name]())


async def test_random_orders_find_faults_of_orders() -> None:
    assert not await passes(CHECKS["test_random_orders_and_windows_agree_with_the_oracle"], WRONG["sorts nulls first"]())


async def test_each_test_passes_on_a_store_that_declares_just_what_the_test_needs() -> None:
    kept = holdall.open("memory://").capabilities
    for check in [check for check in DETERMINED if check.needs <= kept]:
        missing = await prove(check, opening(Fault(capabilities=check.needs | {Capability.WRITE})))
        assert missing == frozenset()


async def test_a_store_that_declares_nothing_passes_by_refusing() -> None:
    refused: set[Capability] = set()
    for capabilities in (frozenset[Capability](), frozenset({Capability.WRITE})):
        for check in DETERMINED:
            refused |= await prove(check, opening(Fault(capabilities=capabilities)))

    assert refused == frozenset(Capability)


async def test_a_store_that_declares_too_little_is_asked_only_to_refuse() -> None:
    fault = Fault(capabilities=frozenset(Capability) - {Capability.ORDER, Capability.INDEX_ORDER})
    ordered = [check for check in DETERMINED if Capability.ORDER in check.needs]

    assert ordered != []
    for check in ordered:
        assert await prove(check, opening(fault)) >= {Capability.ORDER}


def test_every_capability_has_a_refusal_and_a_test_of_its_own() -> None:
    assert frozenset(Capability) == PROBED
    assert {capability for check in CHECKS for capability in check.needs} == frozenset(Capability)


def test_every_wrong_store_is_expected() -> None:
    assert set(EXPECTED) == set(WRONG)
    assert len(WRONG) >= 15


def test_overriding_a_test_of_the_suite_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="overrides test_update_writes_all_fields"):

        class Overriding(StoreSuite):  # pyright: ignore[reportUnusedClass]
            async def test_update_writes_all_fields(self) -> None:
                pass


def test_a_known_gap_of_no_test_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'test_update_writes_all_fields'"):

        class Misspelt(StoreSuite):  # pyright: ignore[reportUnusedClass]
            known_gaps = {"test_update_writes_all_field": NotYet("misspelt", raises=AssertionError)}


@pytest.mark.parametrize(("kind", "outlook"), [(NotImpl, "not implemented"), (NotYet, "not yet"), (Never, "never")])
def test_a_known_gap_becomes_a_strict_expected_failure(kind: type[NotImpl], outlook: str) -> None:
    class Gap(StoreSuite):
        known_gaps = {"test_update_writes_all_fields": kind("why", raises=KeyError)}

    (mark,) = vars(Gap)["test_update_writes_all_fields"].pytestmark
    assert (mark.name, mark.kwargs) == ("xfail", {"reason": f"{outlook}: why", "raises": KeyError, "strict": True})
    assert not hasattr(vars(StoreSuite)["test_update_writes_all_fields"], "pytestmark")


RUN = """
from contextlib import asynccontextmanager

import holdall
from holdall.testing import NotYet, StoreSuite


class TestMine(StoreSuite):
    known_gaps = {
        "test_update_writes_all_fields": NotYet("it passes", raises=AssertionError),
        "test_two_reads_share_no_objects": NotYet("raises another error", raises=KeyError),
        "test_negative_zero_is_zero": NotYet("as expected", raises=ZeroDivisionError),
    }

    @asynccontextmanager
    async def open_backend(self):
        async with holdall.open("memory://") as backend:
            for name in ("test_two_reads_share_no_objects", "test_negative_zero_is_zero"):
                if f"{name} " in __import__("os").environ["PYTEST_CURRENT_TEST"]:
                    raise ZeroDivisionError
            yield backend
"""


@pytest.mark.parametrize(
    "options", [("-o", "asyncio_mode=strict", "-p", "no:xdist"), ("-o", "asyncio_mode=auto", "-n", "2")], ids=["strict", "auto-xdist"]
)
def test_the_suite_runs_in_both_modes_of_pytest_asyncio_and_in_several_processes(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "test_mine.py").write_text(RUN)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    report = ("-p", "holdall.testing.report", "--holdall-report", "report.json")
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-k", "writes or share or zero", *report, *options]

    done = subprocess.run(program, check=False, cwd=tmp_path, capture_output=True, text=True)

    assert "XPASS(strict)" in done.stdout
    assert "2 failed" in done.stdout, done.stdout
    assert "1 xfailed" in done.stdout
    assert '"store": "mine"' in (tmp_path / "report.json").read_text()
