"""Every script of the corpus gives exactly the findings that its comments expect; a good one gives none.

Where a finding says what to write in lines, the script with these lines gives it no more, and runs.
"""

from pathlib import Path

import pytest

from inputgrad.audit.finding import SEVERITIES
from inputgrad.audit.rule_registry import RULES
from tests.audit import harness
from tests.audit.test_replacements import applied, has_lines

WITHOUT_LINES = {
    "IG001_weight_switched_off",
    "IG002_criterion_beside_the_loss",
    "IG003_scores_summed_by_the_criterion",
    "IG004_evaluated_and_left",
    "IG101_caught_by_a_hook",
    "IG101_caught_in_the_midst_of_a_network",
    "IG101_func_grad_and_value",
    "IG101_func_grad_detached",
    "IG101_func_grad_no_grad",
    "IG102_norms_by_numpy",
    "IG102_numpy",
    "IG102_numpy_in_a_helper",
    "IG103_other_network",
    "IG103_relu_second_derivative",
    "IG104_clone_beside_the_forward",
    "IG104_copy_goes_in",
    "IG104_linear_second_derivative",
    "IG104_replaced_after_the_forward",
    "IG104_skipped_in_silence",
    "IG105_frozen_and_none_required",
    "IG106_attack_in_a_test_loop",
    "IG106_output_made_before",
    "IG203_accumulation",
    "IG204_graph_kept",
    "IG302_norm_over_the_batch_dimension",
    "IG302_three_sets_stacked",
    "IG304_sum_of_probabilities",
    "IG305_helper_of_columns",
    "IG401_batch_norm_in_the_critic",
    "IG402_second_pass_other_mask",
    "IG402_virtual_adversarial",
    "IG403_attack_moves_the_statistics",
    "IG404_evaluation_mode_left_on",
    "IG501_distance_inside_the_network",
    "IG503_sign_in_half_precision",
    "IG601_before_it_raises",
    "IG601_fused_attention",
    "IG603_compiled_critic",
    "IG604_hash_grid",
    "IG604_silent",
    "IG605_sharded",
    "IG606_pairwise_distances",
    "IG607_tensor_parallel",
    "IG608_backward_on_data",
    "IG608_backward_under_no_grad",
    "IG702_attack_with_dropout",
    "IG801_last_bias_waits",
    "IG802_inference_tensor",
    "IG802_validation_forces",
    "IG902_penalty_stepped_alone",
    "IG903_lazy_without_interval",
    "IG904_jacobian_in_a_buffer",
    "IG905_allow_unused",
    "IG905_materialized_zeros",
    "IG908_history_of_positions",
    "IG910_graph_in_evaluation",
}
"""Bad scripts whose findings say what to do in words: what to change is not one place of the script, or is a matter of choice."""
ALL = [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in harness.scripts()]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("path", ALL)
def test_exactly_the_expected_findings(path: Path, tmp_path: Path) -> None:
    outcome = harness.run(path)
    said = "\n".join(f"{item.site.shown}  {item.code} {item.severity}  {item.message}" for item in outcome.findings)
    assert not outcome.unexpected, f"false: {outcome.unexpected}\n{said}"
    assert not outcome.missed, f"missed: {outcome.missed}\n{said}"
    assert outcome.raised == harness.raises(path)
    assert (path.stem in WITHOUT_LINES) != any(map(has_lines, outcome.findings)) or path.parent.name == "good", f"lines or no lines:\n{said}"
    for finding in filter(has_lines, outcome.findings):
        changed = tmp_path / path.name
        changed.write_text(applied(path.read_text(), finding.write, finding.site.line))
        mended = harness.run(changed)
        assert mended.raised is None, f"{finding.write}\nraises {mended.raised}"
        left, before = (sum(item.code == finding.code for item in ran.findings) for ran in (mended, outcome))
        assert left < before, f"{finding.write}\nmends nothing"


@pytest.mark.parametrize("path", ALL)
def test_form(path: Path) -> None:
    wanted = harness.expected(path)
    assert harness.docstring(path), "the first line says what the script is"
    assert "Thread: " in harness.docstring(path), "a line `Thread: owner/repo#n` names the origin"
    assert all(code in RULES and severity in SEVERITIES for code, severity, _ in wanted)
    if path.parent.name == "good":
        assert not wanted
        assert harness.raises(path) is None
    else:
        assert path.name[:5] in {code for code, _, _ in wanted}, "a bad script expects the rule that its name begins with"
