"""`docs/differences.md` has every choice that was made, and each choice has a test that holds it."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest
from msgspec import structs

from meterhouse.core.catalog import DryRun, IdenticalRepeat, Product, WindowEdge
from tests.documents import DOCUMENTS, tables_of

ROOT: Final = Path(__file__).parents[2]

CHOICES: Final = {
    # The anchor of a choice, and the test that holds it
    "iso-8601": "unit/test_codec.py::test_a_timestamp_is_read_exactly_and_echoed_by_value",
    "statuses": "unit/test_codec.py::test_a_fault_has_its_status",
    "order-of-faults": "unit/test_batch_faults.py::test_the_earlier_step_decides_whatever_the_order_of_the_records",
    "constraint-breaches": "unit/test_codec_breaches.py::test_constraint_breaches_are_listed_all_in_corals_form",
    "modelled-breaches": "unit/test_codec.py::test_what_rules_judge_passes_on_the_careful_path_too",
    "empty-names": "unit/test_batch_meter_usage.py::test_an_empty_customer_identifier_is_none",
    "one-megabyte": "parts/test_http_bounds.py::test_a_body_is_bounded_to_the_byte",
    "signing-name": "unit/test_sigv4_vectors.py::test_capture_is_accepted",
    "clock-skew": "unit/test_sigv4_judging.py::test_time",
    "product-type": "unit/test_batch_meter_usage.py::test_the_type_of_a_product_makes_no_difference",
    "workload-credentials": "unit/test_meter_usage_faults.py::test_a_workload_is_read_from_the_signer_alone",
    "unknown-customer": "unit/test_batch_faults.py::test_a_breach_refuses_the_whole_batch",
    "last-hour": "unit/test_agreement.py::test_usage_is_taken_by_period_and_by_state",
    "order-of-results": "unit/test_batch_meter_usage.py::test_results_come_in_the_order_of_the_records",
    "identical-repeat": "unit/test_batch_meter_usage.py::test_a_product_may_answer_a_replay_as_a_duplicate",
    "replay": "unit/test_batch_meter_usage.py::test_a_replay_is_exempt_from_subscription_and_license_period",
    "id-of-a-duplicate": "unit/test_batch_meter_usage.py::test_every_result_has_its_status_and_only_success_an_id",
    "twins-in-a-batch": (
        "unit/test_batch_meter_usage.py::test_records_of_one_batch_are_judged_as_if_sent_one_after_the_other"
    ),
    "allocations-not-compared": "unit/test_batch_meter_usage.py::test_allocations_take_no_part_in_the_comparison",
    "window-edge": "unit/test_batch_meter_usage.py::test_a_product_says_from_where_an_age_is_counted",
    "future": "unit/test_window.py::test_the_edges_of_the_window",
    "month-end": "unit/test_batch_faults.py::test_the_window_closes_on_the_instant",
    "empty-batch": "unit/test_batch_meter_usage.py::test_an_empty_batch_is_fine_whatever_else_is_not",
    "unprocessed-records": "parts/test_injected_faults_strike.py::test_unprocessed_records_alone_are_not_kept",
    "empty-allocation": "unit/test_allocations.py::test_how_a_quantity_may_be_split",
    "repeated-tags": "unit/test_allocations.py::test_what_may_label_a_part",
    "empty-tag-value": "unit/test_allocations.py::test_what_may_label_a_part",
    "dry-run": "unit/test_meter_usage_entitlement.py::test_a_dry_run_is_judged_as_the_call_would_be",
    "client-token": "unit/test_meter_usage.py::test_a_token_is_bound_for_longer_than_any_window",
    "token-binding": "unit/test_meter_usage.py::test_a_token_is_bound_to_the_allocations_in_any_order",
    "fresh-token": "unit/test_meter_usage.py::test_each_call_has_its_outcome",
    "agent-replay": "unit/test_meter_usage.py::test_an_agents_replay_is_refused_once_its_window_has_closed",
    "no-workload": "unit/test_meter_usage_faults.py::test_a_breach_refuses_the_call",
    "first-call": "unit/test_meter_usage_entitlement.py::test_later_calls_go_on_whatever_becomes_of_the_subscription",
    "preview": "unit/test_meter_usage_entitlement.py::test_the_sellers_own_account_meters_in_preview",
    "launch-hour": "unit/test_meter_usage_entitlement.py::test_the_window_is_six_hours_and_not_before_the_launch",
    "jwt-claims": "parts/test_product_keys.py::test_the_claims_are_these_and_no_others",
    "fresh-signature": "parts/test_product_keys.py::test_each_call_is_signed_anew",
    "key-versions": "parts/test_product_keys.py::test_a_rotated_version_says_since_when",
    "end-of-a-task": "simulation/test_running.py::test_when_a_task_counts_as_ended",
    "minimum-minute": "simulation/test_running.py::test_the_minimum_is_made_up_in_the_last_hour",
    "rounding": "simulation/test_running.py::test_an_amount_is_exact_and_rounded_once",
    "token-life": "unit/test_resolve_customer.py::test_a_token_says_who_the_buyer_is",
    "foreign-token": "unit/test_resolve_customer.py::test_unknown_and_foreign_tokens_look_alike",
    "throttling": "simulation/test_throttle.py::test_aws_own_figures",
    "unserved-region": "unit/test_meter_usage_faults.py::test_the_three_steps_of_a_region_are_told_apart",
    "profiles": "unit/test_profile.py::test_a_profile_is_what_its_month_had",
}

ALONE: Final = [
    "Regions of an operation",
    "GovCloud",
    "EKS Pod Identity",
    "Node roles",
    "Long-term keys",
    "CloudTrail",
]
"""What AWS does and Meterhouse does not."""

ROWS: Final = [row for rows in tables_of("differences.md").values() for row in rows]


def test_every_choice_has_its_anchor() -> None:
    """The choices of the document are those listed here, each once, in the same order."""
    anchors = [re.match(r'<a id="([a-z0-9-]+)"></a>\S', row[0]) for row in ROWS]
    assert [anchor and anchor[1] for anchor in anchors] == list(CHOICES)
    assert (DOCUMENTS / "differences.md").read_text(encoding="utf-8").count("<a id=") == len(CHOICES)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_is_held_by_a_test(choice: str) -> None:
    """The test that is named for a choice exists, and says in a sentence what must hold."""
    path, _, name = CHOICES[choice].partition("::")
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    tests = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in tests
    assert ast.get_docstring(tests[name])


def test_each_row_says_what_aws_says_and_what_meterhouse_does() -> None:
    """No cell is empty, and each is a sentence or the name of a switch."""
    for _choice, aws, ours, switch in ROWS:
        assert aws.endswith(".")
        assert ours.endswith(".")
        assert switch == "none" or switch.startswith("`")


def test_what_aws_does_alone_is_told_line_by_line() -> None:
    """Each has a line of its own at the end of the document: what AWS does, and what is so here."""
    text = (DOCUMENTS / "differences.md").read_text(encoding="utf-8").partition("## What AWS does, and")[2]
    lines = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
    told = [re.match(r"\*([^*]+)\.\* \S", line) for line in lines]
    assert [line and line[1] for line in told] == ALONE
    assert all(line.count(".") >= 3 for line in lines)


def test_the_switches_are_those_of_a_product() -> None:
    """Each switch of a product is in the document, with the value that is not its default, and none is made up."""
    documented = dict(re.findall(r'`([a-z_]+) = "(\w+)"`', " ".join(row[3] for row in ROWS)))
    switches = {
        field.name: [str(value) for value in field.type if value is not field.default]
        for field in structs.fields(Product)
        if field.type in (IdenticalRepeat, WindowEdge, DryRun)
    }
    assert {name: [value] for name, value in documented.items()} == switches
